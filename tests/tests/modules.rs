//! Modules of a crate depend on each other in one direction only: the graph of its top-level modules has no cycle.
//!
//! An edge is any path through `crate::` or `super::` outside tests. A name that the crate's root re-exports counts as
//! the module that it comes from. A module and its parent may depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// For every top-level module, the modules that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Source code without comments, literals and test-only code.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with('"') {
            literal(rest, '"')
        } else if rest.starts_with("'\"'") || rest.starts_with("'{'") || rest.starts_with("'}'") {
            3
        } else if rest.starts_with("'\\") {
            literal(rest, '\'')
        } else {
            0
        };
        if skipped > 0 {
            out.push(' ');
            at += skipped;
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            at += next;
        }
    }
    without_tests(&out)
}

/// Length of the literal that begins here.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Removes every `#[cfg(test)]` together with the following item.
fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let item = &rest[start + MARK.len()..];
        let (mut depth, mut end) = (0, item.len());
        for (at, c) in item.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 && (c == '}' || c == ';') {
                end = at + 1;
                break;
            }
        }
        rest = &item[end..];
    }
    out + rest
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The first names after `crate::` or `super::`: one name, or those of a list in braces.
fn names(text: &str) -> Vec<String> {
    let Some(list) = text.strip_prefix('{') else { return vec![identifier(text).to_owned()] };
    let (mut depth, mut found, mut item) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
            _ => {}
        }
        if depth == 0 && c != ',' && c != '}' {
            item.push(c);
        }
    }
    found.push(item);
    found.iter().map(|item| identifier(item.trim()).to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The names that the root of a crate re-exports, and the modules that they come from.
fn handed_on(root: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut origin = BTreeMap::new();
    for statement in root.split("use ").skip(1).filter_map(|text| text.split(';').next()) {
        let path = statement.trim().trim_start_matches("crate::").trim_start_matches("self::");
        let module = identifier(path);
        if modules.contains(module) {
            let words = path[module.len()..].split(|c: char| !c.is_alphanumeric() && c != '_');
            origin.extend(words.filter(|word| !word.is_empty()).map(|word| (word.to_owned(), module.to_owned())));
        }
    }
    origin
}

/// All source files below `folder`, with their module paths.
fn sources(folder: &Path, module: &[String], all: &mut Vec<(Vec<String>, PathBuf)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let below = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            if !(module.is_empty() && name == "bin") {
                sources(&path, &below, all);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            all.push((if name == "mod" || name == "lib" { module.to_vec() } else { below }, path));
        }
    }
}

/// Whether a module or one of its parents is compiled only for tests.
fn is_test(module: &[String], texts: &BTreeMap<Vec<String>, String>) -> bool {
    (1..=module.len()).any(|n| {
        let parent = texts.get(&module[..n - 1]).map(String::as_str).unwrap_or_default();
        let words: String = parent.split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains(&format!("#[cfg(test)] mod {};", module[n - 1]))
    })
}

/// The graph of the crate with sources in `folder`.
fn graph(folder: &Path) -> Graph {
    let mut files = Vec::new();
    sources(folder, &[], &mut files);
    let read = |(module, path): (Vec<String>, PathBuf)| (module, std::fs::read_to_string(path).unwrap());
    let texts: BTreeMap<Vec<String>, String> = files.into_iter().map(read).collect();
    let production = texts.iter().filter(|(module, _)| !is_test(module, &texts));
    let production: BTreeMap<&Vec<String>, String> = production.map(|(module, text)| (module, code(text))).collect();
    let modules: BTreeSet<String> = production.keys().filter_map(|module| module.first().cloned()).collect();
    let origin = handed_on(production.get(&Vec::new()).map(String::as_str).unwrap_or_default(), &modules);
    let mut graph: Graph = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for (module, text) in production.iter().filter(|(module, _)| !module.is_empty()) {
        let mut found = Vec::new();
        for (at, _) in text.match_indices("crate::") {
            found.extend(names(&text[at + "crate::".len()..]));
        }
        let to_root = "super::".repeat(module.len());
        for (at, _) in text.match_indices(&to_root) {
            if !text[..at].ends_with("::") {
                found.extend(names(&text[at + to_root.len()..]));
            }
        }
        let targets = found.iter().map(|name| if modules.contains(name) { Some(name) } else { origin.get(name) });
        let edges = graph.get_mut(&module[0]).unwrap();
        edges.extend(targets.flatten().filter(|target| **target != module[0]).cloned());
    }
    graph
}

/// The modules of a cycle, in order, if there is one.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    fn visit(graph: &Graph, at: &str, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|module| module == at) {
            return Some(path[start..].to_vec());
        }
        if !done.contains(at) {
            path.push(at.to_owned());
            for next in &graph[at] {
                if let Some(found) = visit(graph, next, path, done) {
                    return Some(found);
                }
            }
            path.pop();
            done.insert(at.to_owned());
        }
        None
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| visit(graph, module, &mut Vec::new(), &mut done))
}

/// The graph of the crate in this folder of the repository. It is also printed.
fn of_crate(folder: &str) -> Graph {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let graph = graph(&root.join(folder).join("src"));
    println!("{folder}");
    for (module, targets) in graph.iter().filter(|(_, targets)| !targets.is_empty()) {
        println!("    {module} -> {}", targets.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    }
    graph
}

#[test]
fn module_graphs_have_no_cycle() {
    let crates = [
        "runtime",
        "runtime/writer",
        "trainer/compiler",
        "trainer/train",
        "trainer/cli",
        "firmware/link",
        "fuzz/blobs",
    ];
    let cycles: Vec<String> = crates
        .into_iter()
        .filter_map(|folder| cycle(&of_crate(folder)).map(|found| format!("{folder}: {}", found.join(" -> "))))
        .collect();
    assert!(cycles.is_empty(), "modules know each other in a circle: {cycles:#?}");
}

#[test]
fn a_cycle_is_found_wherever_it_hides_and_tests_make_none() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a; mod b; mod c;\n#[cfg(test)]\nmod only;\npub use b::{Item, Other};\n");
    write("a.rs", "mod deep;\nuse crate::Item; // crate::c\nconst TEXT: &str = \"crate::c\";\n");
    write("a/deep.rs", "use super::Item;\n");
    write("b.rs", "#[cfg(test)]\nmod tests { use crate::a::X; fn f() {} }\n");
    write("c.rs", "fn f() { super::a::g() }\n");
    write("only.rs", "use crate::{a, b};\n");
    let edges = |module: &str| graph(dir.path())[module].iter().cloned().collect::<Vec<_>>();
    assert_eq!((edges("a"), edges("b"), edges("c")), (vec!["b".to_owned()], vec![], vec!["a".to_owned()]));
    assert_eq!(cycle(&graph(dir.path())), None);
    for (file, hidden) in [("b.rs", "use super::{x::Y, c::Z};\n"), ("a/deep.rs", "use super::super::c::Z;\n")] {
        let before = std::fs::read_to_string(dir.path().join(file)).unwrap();
        let other = if file == "b.rs" { "use super::{c::{Z}};\n" } else { hidden };
        for text in [hidden, other] {
            write(file, text);
            assert!(cycle(&graph(dir.path())).is_some(), "{file}: {text}");
        }
        write(file, &before);
    }
}
