//! An expression as it was parsed -> as it is evaluated.
//!
//! Names and functions are checked, as the API server does when it compiles: one that is not known would otherwise fail on some
//! devices and not be noticed on others. Fields, indices, `in`, `has` and what comprehensions go over become calls of functions of
//! ours; `cel.bind` becomes a comprehension over nothing, as CEL has it.

use super::Sees;
use super::functions::{EQUAL, FIELD, HAS, IN, INDEX, ITEMS, KNOWN};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators,
};
use std::collections::BTreeSet;

/// Operators that stay as they are.
const OPERATORS: [&str; 15] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::NOT_STRICTLY_FALSE,
];

/// How deep an expression may be, lest its evaluation run out of stack.
const DEPTH_MAX: usize = 32;

pub(super) fn rewrite(parsed: IdedExpr) -> Result<(IdedExpr, Sees), String> {
    let scope = vec!["device".to_owned()];
    let mut rewriting = Rewriting { scope, names: BTreeSet::new(), looked_up: 0, named: 0, depth: 0 };
    let expression = rewriting.expression(parsed)?;
    let names = (rewriting.looked_up == rewriting.named).then_some(rewriting.names);
    Ok((expression, Sees { names }))
}

/// True if the expression holds for nothing but devices of a driver: it is `device.driver == "…"`, or this and more.
pub(super) fn demands_driver(expression: &IdedExpr, driver: &str) -> bool {
    let Expr::Call(call) = &expression.expr else { return false };
    let is_driver = |side: &IdedExpr| {
        let Expr::Call(CallExpr { func_name, args, .. }) = &side.expr else { return false };
        func_name == FIELD
            && matches!(&args[0].expr, Expr::Ident(name) if name == "device")
            && literal(&args[1]) == Some("driver")
    };
    match (call.func_name.as_str(), &call.args[..]) {
        (operators::LOGICAL_AND, sides) => sides.iter().any(|side| demands_driver(side, driver)),
        (EQUAL, [one, other]) => {
            let is = |side: &IdedExpr| literal(side) == Some(driver);
            is_driver(one) && is(other) || is_driver(other) && is(one)
        }
        _ => false,
    }
}

fn literal(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn call(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }) }
}

/// True for `device.attributes` and `device.capacity`.
fn is_domains(of: &IdedExpr) -> bool {
    let Expr::Call(CallExpr { func_name, args, .. }) = &of.expr else { return false };
    func_name == FIELD
        && matches!(&args[0].expr, Expr::Ident(name) if name == "device")
        && matches!(literal(&args[1]), Some("attributes" | "capacity"))
}

/// True for one of their domains, by its name.
fn is_domain(of: &IdedExpr) -> bool {
    let Expr::Call(CallExpr { func_name, args, .. }) = &of.expr else { return false };
    matches!(func_name.as_str(), FIELD | INDEX) && is_domains(&args[0]) && literal(&args[1]).is_some()
}

struct Rewriting {
    /// Names that mean something here.
    scope: Vec<String>,
    /// Every text and field name that stands in it.
    names: BTreeSet<String>,
    /// How often it looks at attributes or capacities, and how often at one of them by its name. If these are the same, it sees
    /// nothing of a device but what it names.
    looked_up: usize,
    named: usize,
    depth: usize,
}

impl Rewriting {
    fn expression(&mut self, of: IdedExpr) -> Result<IdedExpr, String> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        let rewritten = self.at_depth(of);
        self.depth -= 1;
        rewritten
    }

    fn at_depth(&mut self, of: IdedExpr) -> Result<IdedExpr, String> {
        let id = of.id;
        let expr = match of.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                self.names.insert(text.inner().to_owned());
                Expr::Literal(LiteralValue::String(text))
            }
            literal @ Expr::Literal(_) => literal,
            Expr::Ident(name) => {
                if !self.scope.contains(&name) {
                    return Err(format!("\"{name}\" is not known; known are: {}", self.scope.join(", ")));
                }
                Expr::Ident(name)
            }
            Expr::Select(select) => {
                self.names.insert(select.field.clone());
                let name = Expr::Literal(LiteralValue::String(select.field.as_str().into()));
                let operand = self.expression(*select.operand)?;
                let function = if select.test { HAS } else { FIELD };
                return Ok(self.ours(id, function, operand, IdedExpr { id, expr: name }));
            }
            Expr::Call(call) => return self.call(id, call),
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension)?,
            Expr::List(list) => {
                if !list.optional_indices.is_empty() {
                    return Err("optional items are not understood".to_owned());
                }
                Expr::List(ListExpr::new(self.all(list.elements)?))
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                        return Err("messages are not understood".to_owned());
                    };
                    entry.key = self.expression(std::mem::take(&mut entry.key))?;
                    entry.value = self.expression(std::mem::take(&mut entry.value))?;
                }
                Expr::Map(map)
            }
            Expr::Struct(it) => return Err(format!("messages such as {} are not understood", it.type_name)),
            Expr::Unspecified => return Err("it says nothing".to_owned()),
        };
        Ok(IdedExpr { id, expr })
    }

    /// A call of a function of ours, that looks up something in something.
    fn ours(&mut self, id: u64, function: &str, of: IdedExpr, what: IdedExpr) -> IdedExpr {
        self.named += usize::from(is_domain(&of) && literal(&what).is_some());
        let made = call(id, function, vec![of, what]);
        self.looked_up += usize::from(is_domains(&made));
        made
    }

    fn all(&mut self, of: Vec<IdedExpr>) -> Result<Vec<IdedExpr>, String> {
        of.into_iter().map(|each| self.expression(each)).collect()
    }

    fn call(&mut self, id: u64, of: CallExpr) -> Result<IdedExpr, String> {
        let CallExpr { func_name, target, args } = of;
        if func_name == "bind"
            && let Some(IdedExpr { expr: Expr::Ident(name), .. }) = target.as_deref()
            && name == "cel"
        {
            return self.bind(id, args);
        }
        let target = target.map(|target| self.expression(*target).map(Box::new)).transpose()?;
        let args = self.all(args)?;
        if target.is_none() && matches!(&*func_name, operators::INDEX | operators::IN) {
            let [one, other]: [IdedExpr; 2] =
                args.try_into().map_err(|_| format!("\"{func_name}\" takes two values"))?;
            return Ok(match &*func_name {
                operators::INDEX => self.ours(id, INDEX, one, other),
                _ => self.ours(id, IN, other, one),
            });
        }
        if target.is_none() && matches!(&*func_name, operators::EQUALS | operators::NOT_EQUALS) {
            let equal = call(id, EQUAL, args);
            return Ok(match &*func_name {
                operators::EQUALS => equal,
                _ => call(id, operators::LOGICAL_NOT, vec![equal]),
            });
        }
        if !(KNOWN.contains(&&*func_name) || target.is_none() && OPERATORS.contains(&&*func_name)) {
            return Err(format!("the function \"{func_name}\" is not understood"));
        }
        Ok(IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target, args }) })
    }

    /// `cel.bind(name, value, expression)`.
    fn bind(&mut self, id: u64, args: Vec<IdedExpr>) -> Result<IdedExpr, String> {
        let wrong = || "cel.bind takes a name, a value and an expression".to_owned();
        let [name, value, result]: [IdedExpr; 3] = args.try_into().map_err(|_| wrong())?;
        let Expr::Ident(name) = name.expr else { return Err(wrong()) };
        let value = self.expression(value)?;
        self.scope.push(name.clone());
        let result = self.expression(result)?;
        self.scope.pop();
        let at = |expr: Expr| IdedExpr { id, expr };
        let bound = ComprehensionExpr {
            iter_range: at(Expr::List(ListExpr::new(Vec::new()))),
            iter_var: "@unused".to_owned(),
            iter_var2: None,
            accu_var: name.clone(),
            accu_init: value,
            loop_cond: at(Expr::Literal(LiteralValue::Boolean(false.into()))),
            loop_step: at(Expr::Ident(name)),
            result,
        };
        Ok(at(Expr::Comprehension(Box::new(bound))))
    }

    fn comprehension(&mut self, of: ComprehensionExpr) -> Result<Expr, String> {
        if of.iter_var2.is_some() {
            return Err("comprehensions of two names are not understood".to_owned());
        }
        let id = of.iter_range.id;
        let range = self.expression(of.iter_range)?;
        let accu_init = self.expression(of.accu_init)?;
        let before = self.scope.len();
        self.scope.extend([of.iter_var.clone(), of.accu_var.clone()]);
        let rewritten = ComprehensionExpr {
            iter_range: call(id, ITEMS, vec![range]),
            accu_init,
            loop_cond: self.expression(of.loop_cond)?,
            loop_step: self.expression(of.loop_step)?,
            result: self.expression(of.result)?,
            ..of
        };
        self.scope.truncate(before);
        Ok(Expr::Comprehension(Box::new(rewritten)))
    }
}
