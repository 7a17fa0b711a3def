//! Selectors of devices in CEL, as DRA has them: what a DeviceClass and a request say of the devices that they mean.
//!
//! The `cel` crate parses and evaluates. What Kubernetes' environment does otherwise than that crate is done here: the expression
//! is rewritten once (`rewrite`), so that fields, indices, `in` and `has` go to functions of ours (`functions`), which know
//! domains without attributes, quantities and versions (`values`). A name or function that is not known is an error when the
//! expression is compiled, so that nothing is guessed. What fails on a device is an error of that device: Kubernetes says of it
//! that it "causes allocation of devices to abort".
//!
//! Costs: compiling parses the text; a device costs its attributes and the steps of the expression, some ten microseconds. Who
//! asks about many devices remembers the answers by [`Selector::view`], which is all that the expression can see of one.
//!
//! Absent: limits of cost (the API server holds expressions to Kubernetes' before they get here), optional values, and of
//! Kubernetes' libraries those for addresses, URLs, sets, regular expressions other than `matches`, and formats.

mod functions;
mod rewrite;
mod values;

use crate::slim;
use cel::common::ast::IdedExpr;
use cel::objects::{Key, Map, Value};
use cel::parser::Parser;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use values::{Domains, Quantity, Version};

/// The longest expression, as in Kubernetes.
const LENGTH_MAX: usize = 10 << 10;

/// The most brackets and conditions: the parser goes into each.
const BRACKETS_MAX: usize = 200;
/// Room for the parser, which is taken only as far as it is used: it goes as deep as an expression is long.
const STACK: usize = 512 << 20;

fn parse(text: &str) -> Result<(IdedExpr, Sees), String> {
    let parsed = Parser::new().parse(text).map_err(|errors| {
        let messages: Vec<_> = errors.errors.iter().map(|error| error.msg.as_str()).collect();
        messages.join("; ")
    })?;
    rewrite::rewrite(parsed)
}

/// A condition on a device.
pub struct Selector {
    text: Box<str>,
    expression: IdedExpr,
    sees: Sees,
}

/// Which attributes and capacities an expression can see.
struct Sees {
    /// Names that stand in it; none if it can see any.
    names: Option<BTreeSet<String>>,
}

/// What functions there are; making it costs more than using it.
pub struct Environment(cel::Context<'static>);

impl Environment {
    /// What DRA's expressions may call.
    pub fn new() -> Self {
        Self(functions::context())
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.text).finish()
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Selector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, or not understood.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("it is {} bytes long, at most {LENGTH_MAX} are allowed", text.len()));
        }
        let nesting = text.bytes().filter(|byte| matches!(byte, b'(' | b'[' | b'{' | b'?')).count();
        if nesting > BRACKETS_MAX {
            return Err(format!(
                "it has {nesting} brackets and conditions, at most {BRACKETS_MAX} are understood"
            ));
        }
        // The parser takes any number of them for one.
        let dense = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
        if dense.clone().zip(dense.skip(1)).any(|pair| matches!(pair, (b'!', b'!') | (b'-', b'-'))) {
            return Err("two \"!\" or \"-\" in a row are not understood".to_owned());
        }
        let (expression, sees) = std::thread::scope(|scope| {
            let apart = std::thread::Builder::new().stack_size(STACK);
            let parsing = apart.spawn_scoped(scope, || parse(text)).map_err(|error| error.to_string())?;
            parsing.join().unwrap_or_else(|_| Err("it cannot be parsed".to_owned()))
        })?;
        Ok(Self { text: text.into(), expression, sees })
    }

    /// The expression.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if it holds only for devices of this driver.
    pub fn demands_driver(&self, driver: &str) -> bool {
        rewrite::demands_driver(&self.expression, driver)
    }

    /// Whether a device of a driver is meant.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn matches(
        &self,
        environment: &Environment,
        driver: &str,
        device: &slim::Device,
    ) -> Result<bool, String> {
        let device = self.input(driver, device)?;
        let mut context = environment.0.new_inner_scope();
        context.add_variable_from_value("device", device);
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(format!("it evaluates to {other:?}, not to true or false")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// All that the expression can see of a device: equal views, equal answers.
    pub fn view(&self, device: &slim::Device) -> String {
        let seen = |name: &str| {
            let id = name.rsplit_once('/').map_or(name, |(_, id)| id);
            self.sees.names.as_ref().is_none_or(|names| names.contains(id))
        };
        let attributes = device.attributes.iter().filter(|(name, _)| seen(name));
        let capacity = device.capacity.iter().filter(|(name, _)| seen(name));
        let mut view = format!("{:?}", device.allow_multiple_allocations);
        attributes.for_each(|(name, value)| view.push_str(&format!("\0{name}\0{value:?}")));
        capacity.for_each(|(name, value)| view.push_str(&format!("\0\0{name}\0{}", value.value.0)));
        // A value that cannot be read makes every expression fail, whether it looks at it or not.
        if self.input("", device).is_err() {
            view.push_str("\0\0\0");
            view.push_str(&device.name);
        }
        view
    }

    fn input(&self, driver: &str, device: &slim::Device) -> Result<Value, String> {
        let (mut attributes, mut capacity) = (Grouped::default(), Grouped::default());
        for (name, attribute) in &device.attributes {
            let value = value(attribute).map_err(|error| format!("attribute {name}: {error}"))?;
            attributes.add(driver, name, value);
        }
        for (name, found) in &device.capacity {
            let amount =
                Quantity::parse(&found.value.0).map_err(|error| format!("capacity {name}: {error}"))?;
            capacity.add(driver, name, Value::Opaque(Arc::new(amount)));
        }
        let fields: HashMap<&str, Value> = HashMap::from([
            ("driver", text(driver)),
            ("allowMultipleAllocations", Value::Bool(device.allow_multiple_allocations == Some(true))),
            ("attributes", attributes.value()),
            ("capacity", capacity.value()),
        ]);
        Ok(Value::Map(Map::from(fields)))
    }
}

/// Values by domain and name.
#[derive(Default)]
struct Grouped(HashMap<String, HashMap<Key, Value>>);

impl Grouped {
    fn add(&mut self, driver: &str, name: &str, value: Value) {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        self.0.entry(domain.to_owned()).or_default().insert(Key::from(id), value);
    }

    fn value(self) -> Value {
        let domains = self.0.into_iter().map(|(domain, values)| (Key::from(domain), map(values)));
        Value::Opaque(Arc::new(Domains(domains.collect())))
    }
}

fn map(values: HashMap<Key, Value>) -> Value {
    Value::Map(Map { map: Arc::new(values) })
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn value(attribute: &slim::Attribute) -> Result<Value, String> {
    if let Some(number) = attribute.int {
        return Ok(Value::Int(number));
    }
    if let Some(flag) = attribute.bool {
        return Ok(Value::Bool(flag));
    }
    if let Some(found) = &attribute.string {
        return Ok(text(found));
    }
    match &attribute.version {
        Some(version) => Ok(Value::Opaque(Arc::new(Version::parse(version)?))),
        None => Err("a value of a kind that is not known".to_owned()),
    }
}
