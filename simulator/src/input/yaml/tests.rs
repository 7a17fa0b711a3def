use super::*;

fn parse(source: &str) -> Document {
    Document::parse("t.yaml", source).unwrap()
}

#[test]
fn scalars_keep_their_text_and_their_lines() {
    let document = parse("a: 0.10\nb: [\"x\", 1e3, yes, true, ~]\nc: &k {d: 007}\ne: *k\n");
    let fields = document.root().fields(&["a", "b", "c", "e"]).unwrap();
    assert_eq!(fields.need("a").unwrap().text().unwrap(), "0.10");
    let items = fields.items("b").unwrap();
    let texts: Vec<_> = items.iter().filter(|i| !i.is_null()).map(|i| i.text().unwrap()).collect();
    assert_eq!(texts, ["x", "1e3", "yes", "true"]);
    assert!(items[4].is_null());
    assert_eq!(fields.need("c").unwrap().entries().unwrap()[0].1.text().unwrap(), "007");
    let again = fields.need("e").unwrap().entries().unwrap();
    assert_eq!(again[0].1.text().unwrap(), "007");
    assert_eq!(items[1].fail("x").line, Some(2));
}

#[test]
fn errors_know_where_they_are() {
    let document = parse("nodes:\n- {name: a}\n- {name: b,\n   cpus: 3}\n");
    let nodes = document.root().fields(&["nodes"]).unwrap().items("nodes").unwrap();
    let error = nodes[1].fields(&["name", "cpu"]).err().unwrap();
    assert_eq!(error.to_string(), "t.yaml:4: nodes[1].cpus: is not a known field; allowed: name, cpu");
    let error = nodes[0].fields(&["name"]).unwrap().need("cpu").err().unwrap();
    assert_eq!(error.to_string(), "t.yaml:2: nodes[0]: has no `cpu`, which is required");
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let error = |source| Document::parse("t.yaml", source).err().unwrap().to_string();
    assert!(error("a: 1\na: 2\n").starts_with("t.yaml:2: "), "{}", error("a: 1\na: 2\n"));
    assert!(error("a: [1\nb: 2").starts_with("t.yaml:"));
}
