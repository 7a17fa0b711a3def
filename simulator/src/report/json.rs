//! The stable JSON form.

use crate::outcome::Outcome;
use serde::Serialize;

/// One outcome as an object, any other number as an array of them; pretty-printed, ends in a newline.
pub fn outcomes(outcomes: &[Outcome]) -> String {
    match outcomes {
        [one] => pretty(one),
        many => pretty(&many),
    }
}

/// `value` as pretty-printed JSON that ends in a newline.
pub fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("reports have string keys and finite numbers, so they serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use crate::outcome::Outcome;
    use crate::report::{json, samples};

    #[test]
    fn the_form_is_stable() {
        let mut outcome = samples::small();
        outcome.projects.remove(0);
        outcome.projects[0].samples.truncate(1);
        outcome.pools[0].samples.truncate(1);
        insta::assert_snapshot!(json(&[outcome]));
    }

    #[test]
    fn one_is_an_object_that_reads_back_and_more_are_an_array() {
        let small = samples::small();
        assert_eq!(serde_json::from_str::<Outcome>(&json(std::slice::from_ref(&small))).unwrap(), small);
        assert_eq!(serde_json::from_str::<Vec<Outcome>>(&json(&[small.clone(), small])).unwrap().len(), 2);
    }
}
