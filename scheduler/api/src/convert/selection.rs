//! The devices of Berth's driver that a claim means, of all that there are: by selectors of its DeviceClass and its own.
//!
//! To the engine a node's devices are alike but for their memory. So a selection is told as a label of nodes: those have it whose
//! devices are all meant. A node of which some devices are meant and others are not is not offered to the pod, which is told so.

use super::Surroundings;
use crate::cel::Selector;
use crate::error::Bad;
use crate::names::{driver, node::SELECTED};
use crate::slim::DeviceSelector;
use std::sync::Arc;

/// Selectors of which all must hold, besides that the device is one of Berth's driver; empty = every device of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Selection(Vec<Arc<Selector>>);

impl Selection {
    /// Reads the selectors of a class and of a request. What a request says is looked at only where the class holds.
    pub(super) fn read(
        class: &[DeviceSelector],
        request: &[DeviceSelector],
        around: &impl Surroundings,
    ) -> Result<Self, Bad> {
        let (mut all, mut is_ours) = (Vec::new(), false);
        let of_class = class.iter().enumerate().map(|(at, it)| ("DeviceClass.spec.selectors", at, it));
        let own = request.iter().enumerate().map(|(at, it)| ("exactly.selectors", at, it));
        for (field, at, selector) in of_class.chain(own) {
            let field = || format!("{field}[{at}].cel.expression");
            let Some(cel) = &selector.cel else {
                return Err(Bad::new(field(), "", "an expression: other selectors are not understood"));
            };
            if is_plain(&cel.expression) {
                is_ours = true;
                continue;
            }
            let compiled =
                around.selector(&cel.expression).map_err(|why| Bad::new(field(), &cel.expression, why))?;
            is_ours |= compiled.demands_driver(driver::NAME);
            if !all.contains(&compiled) {
                all.push(compiled);
            }
        }
        if !is_ours {
            let allowed = "selectors one of which says device.driver == \"gpu.berth.dev\"; leave pods with claims of other \
                           drivers to another scheduler";
            return Err(Bad::new("DeviceClass.spec.selectors", texts(&all), allowed));
        }
        Ok(Self(all))
    }

    /// True if every device of the driver is meant.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The selectors.
    pub fn selectors(&self) -> &[Arc<Selector>] {
        &self.0
    }

    /// The label of nodes whose devices are all meant; none if there is nothing to select.
    pub fn label(&self) -> Option<String> {
        (!self.is_all()).then(|| format!("{SELECTED}{}", texts(&self.0)))
    }
}

fn texts(all: &[Arc<Selector>]) -> String {
    let each: Vec<_> = all.iter().map(|selector| format!("({})", selector.text())).collect();
    each.join(" && ")
}

/// True for what the driver's own class says.
fn is_plain(expression: &str) -> bool {
    let dense: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
    dense.replace('\'', "\"") == format!("device.driver==\"{}\"", driver::NAME)
}
