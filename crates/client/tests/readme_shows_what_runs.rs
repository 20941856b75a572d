//! The README's example is the one that compiles.

#[test]
fn the_example_of_the_readme_is_the_one_in_examples() {
    let program = include_str!("../examples/orders.rs");
    let shown: String = program
        .split("    // README\n")
        .nth(1)
        .expect("a marked part")
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    let readme = include_str!("../../../README.md");
    let block =
        readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    assert_eq!(block, shown);
}
