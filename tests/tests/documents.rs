//! Checks that the tables of operations and of their errors in the documents equal those in the code.

use std::fmt::Write as _;
use std::path::Path;

use elbo::program::{Extra, Opcode, ScaleRule, TensorKind};

const INPUTS: [&str; 3] = ["a", "b", "c"];

/// The rows of the table of operations in `docs/blob-format.md`.
fn table() -> String {
    let mut rows = String::from(
        "| code | operation | feature | inputs | output | computes | requires | work |\n|---|---|---|---|---|---|---|---|\n",
    );
    for opcode in Opcode::ALL {
        let rules = opcode.rules();
        let takes: Vec<String> = INPUTS
            .iter()
            .take(rules.inputs())
            .enumerate()
            .map(|(slot, name)| match rules.input_kind(slot) {
                Some(TensorKind::Nats) => format!("{name} (nats)"),
                None => format!("{name} (either)"),
                Some(_) => (*name).to_owned(),
            })
            .collect();
        let gives = match rules.output_kind() {
            Some(TensorKind::Nats) => "nats",
            None => "either",
            Some(_) => "activations",
        };
        let extra = match rules.extra() {
            Extra::None => "",
            Extra::LogDet => ", log-determinant (nats) as third",
            Extra::Scratch => ", scratch as third",
        };
        let in_place = if rules.in_place() { ", in place" } else { "" };
        let rules = (0..rules.inputs())
            .map(|slot| (INPUTS[slot], rules.input_scale(slot)))
            .chain([("y", rules.written_scale())]);
        let asks: Vec<String> = rules.filter_map(|(name, rule)| asks(name, rule)).collect();
        writeln!(
            rows,
            "| {} | {} | {} | {} | {gives}{extra}{in_place} | {} | {} | {} |",
            opcode as u8,
            opcode.name(),
            opcode.features().collect::<Vec<_>>().join(", "),
            takes.join(", "),
            opcode.description().trim().replace('|', "\\|"),
            asks.join(", "),
            work(opcode),
        )
        .expect("a string takes everything");
    }
    rows
}

fn work(opcode: Opcode) -> String {
    match opcode.work() {
        (fixed, 0) => format!("{fixed}"),
        (fixed, each) if opcode.inputs() == 0 => format!("{fixed} + {each} n(y)"),
        (fixed, each) => format!("{fixed} + {each} n(a)"),
    }
}

fn asks(name: &str, rule: ScaleRule) -> Option<String> {
    match rule {
        ScaleRule::Any => None,
        ScaleRule::SameAsFirst => Some(format!("f({name}) = f(a)")),
        ScaleRule::SameAsOutput => Some(format!("f({name}) = f(y)")),
        ScaleRule::NotCoarserThanOutput => Some(format!("f({name}) >= f(y)")),
        ScaleRule::AtLeast(least) => Some(format!("f({name}) >= {least}")),
        ScaleRule::Exactly(exact) => Some(format!("f({name}) = {exact}")),
        ScaleRule::ReadAtMost(most) => Some(format!("f({name}) + parameter in 0..={most}")),
    }
}

/// The rows of the table of errors in the same document.
fn errors() -> String {
    let mut rows = String::from("| operation | error, at most | limit |\n|---|---|---|\n");
    let stated = Opcode::ALL.into_iter().filter_map(|opcode| Some((opcode.name(), opcode.error()?)));
    for (name, [error, limit]) in stated {
        writeln!(rows, "| {name} | {error} | {limit} |").expect("a string takes everything");
    }
    rows
}

/// Compares the part of the document between the two marks of this name with `new`, or rewrites it if `bless`.
fn check(document: &mut String, name: &str, new: &str, bless: bool) {
    let (before, rest) = document.split_once(&format!("<!-- {name}:")).expect("a mark before the table");
    let (mark, rest) = rest.split_once("-->\n").expect("the end of that mark");
    let end = format!("<!-- end of {name} -->");
    let (old, after) = rest.split_once(&end).expect("a mark after the table");
    if bless {
        *document = format!("{before}<!-- {name}:{mark}-->\n{new}{end}{after}");
        return;
    }
    for (old, new) in old.lines().zip(new.lines()) {
        assert_eq!(old, new, "docs/blob-format.md differs from runtime/src/ops: run this test with ELBO_BLESS=1");
    }
    assert_eq!(old.lines().count(), new.lines().count(), "docs/blob-format.md: run this test with ELBO_BLESS=1");
}

/// With `ELBO_BLESS=1` the document is rewritten instead.
#[test]
fn the_format_lists_the_operations_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/blob-format.md");
    let mut document = std::fs::read_to_string(&path).expect("the specification of the format");
    let bless = std::env::var_os("ELBO_BLESS").is_some();
    check(&mut document, "operations", &table(), bless);
    check(&mut document, "errors", &errors(), bless);
    if bless {
        std::fs::write(&path, document).expect("the document can be written");
    }
}

/// The front page's example reserves the arena that `elbo compile` prints for its model.
#[test]
fn the_example_has_the_arena_that_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above");
    let page = std::fs::read_to_string(root.join("README.md")).expect("readable");
    let blob = elbo_compiler::host::Blob::read(&root.join("tests/data/digits.elbo")).expect("readable");
    let model = blob.load(elbo::Limits::host()).expect("valid");
    let printed = elbo_compiler::report::costs(&model, blob.bytes().len());
    let arena = format!("Arena::<{}>", model.arena_len());
    assert!(printed.contains(&arena) && page.contains(&format!("{arena}::new()")), "{arena}: {printed}");
}
