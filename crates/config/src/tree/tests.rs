//! Places, aliases, merge keys, limits.

use super::*;

fn read(text: &str) -> (Node, String) {
    let file = Arc::new(FileInfo { shown: "f".into(), dir: PathBuf::new(), mode: 0o600, owner: 0 });
    let mut diags = Diagnostics::default();
    let mut budget = 10_000;
    let node = parse(&file, text, &mut budget, &mut diags);
    let said = diags.into_sorted().iter().map(|d| format!("{d}\n")).collect();
    (node, said)
}

/// Every node as `text@line:column`, quoted ones in quotes.
fn shown(node: &Node) -> String {
    let body = match &node.value {
        Value::Scalar { text, quoted: true } => format!("'{text}'"),
        Value::Scalar { text, quoted: false } => text.clone(),
        Value::Seq(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let all: Vec<_> = entries
                .iter()
                .map(|e| format!("{}@{}:{}={}", e.key, e.key_at.line, e.key_at.column, shown(&e.value)))
                .collect();
            format!("{{{}}}", all.join(" "))
        }
        Value::Broken => "broken".into(),
    };
    let tag = if node.include { "!" } else { "" };
    format!("{tag}{body}@{}:{}", node.at.line, node.at.column)
}

fn check(text: &str, expected: &str) {
    let (node, said) = read(text);
    assert_eq!((shown(&node), said), (expected.to_owned(), String::new()), "{text}");
}

fn refuse(text: &str, expected: &str) {
    assert_eq!(read(text).1, expected, "{text}");
}

#[test]
fn every_key_and_value_knows_its_line_and_column() {
    check(
        "a: 1\nbé: {c: 'x', d: [y, \"z\"]}\n",
        "{a@1:1=1@1:4 bé@2:1={c@2:6='x'@2:9 d@2:14=[y@2:18 'z'@2:21]@2:17}@2:5}@1:1",
    );
    check("\n- - p\n  - |\n    q\n", "[[p@2:5 'q\n'@4:5]@2:3]@2:1");
    check("j: !include [a, b]\nk: !import c\n", "{j@1:1=![a@1:14 b@1:17]@1:13 k@2:1=!c@2:12}@1:1");
}

#[test]
fn nothing_null_and_the_empty_string_are_unset() {
    for text in ["", "~", "null", "''", "\"\"", "# x", "' '"] {
        assert!(read(text).0.is_unset(), "{text:?}");
    }
    for text in ["'~'", "'null'", "0", "[]", "no"] {
        assert!(!read(text).0.is_unset(), "{text:?}");
    }
    let (node, _) = read("a:\nb: 1\n");
    let Value::Map(entries) = &node.value else { panic!("{node:?}") };
    assert!(entries[0].value.is_unset());
}

#[test]
fn aliases_are_copied_and_merge_keys_yield_to_own_keys() {
    check("a: &x 1\nb: *x\n", "{a@1:1=1@1:7 b@2:1=1@1:7}@1:1");
    let (node, said) = read("a: &x {p: 1, q: 2}\nb: {q: 3, <<: *x}\nc: {<<: [{p: 8}, *x]}\n");
    assert_eq!(said, "");
    let text = shown(&node);
    assert!(text.contains("b@2:1={q@2:5=3@2:8 p@1:8=1@1:11}"), "{text}");
    assert!(text.contains("c@3:1={p@3:11=8@3:14 q@1:14=2@1:17}"), "{text}");
}

#[test]
fn duplicate_keys_are_named_and_the_first_one_counts() {
    let (node, said) = read("a: 1\nb: 2\na: 3\n");
    assert_eq!(said, "f:3:1: error: duplicate key `a`; it is already set in line 1\n");
    assert_eq!(shown(&node), "{a@1:1=1@1:4 b@2:1=2@2:4}@1:1");
}

#[test]
fn syntax_errors_are_diagnostics_at_their_place() {
    let (node, said) = read("a: [b\nc: d\n");
    assert!(said.starts_with("f:"), "{said}");
    assert!(said.contains(": error: not valid YAML: "), "{said}");
    assert!(matches!(node.value, Value::Broken));
    refuse(
        "a: 1\n---\nb: 2\n",
        "f:2:1: error: a second YAML document begins here\n  hint: Put everything into one document; remove the `---` line.\n",
    );
    refuse(
        "a: !shell rm\n",
        "f:1:11: error: unknown tag `!shell`\n  hint: Known tags are `!include` and `!import`.\n",
    );
    refuse("? [a]\n: b\n", "f:1:3: error: a key must be a single word, not a list or a mapping\n");
    refuse("<<: 1\n", "f:1:1: error: `<<` needs a mapping or a list of mappings\n");
}

#[test]
fn alias_bombs_and_deep_nesting_end_in_an_error() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(read(&bomb).1.contains("too large once all aliases and includes are followed"));
    assert!(read(&format!("{}{}", "[".repeat(65), "]".repeat(65))).1.contains("nested more than 64 deep"));
    assert!(read(&"- ".repeat(65)).1.contains("nested more than 64 deep"));
    let mut chain = "- &b0 [x]\n".to_owned();
    for i in 1..80 {
        chain.push_str(&format!("- &b{i} [*b{}]\n", i - 1));
    }
    assert!(read(&chain).1.contains("nested more than 64 deep"));
    assert!(read("&a [*a]\n").1.contains("this alias refers to a value that contains it"));
    assert!(read("a: *nowhere\n").1.contains("not valid YAML"));
}
