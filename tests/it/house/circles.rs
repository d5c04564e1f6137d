//! No two modules need each other. A circle means that neither can be read, tested or moved without the other.
//!
//! Nodes are the entries of each folder: files, and subfolders as a whole. An edge is a path in the code (`crate::…`,
//! `super::…`, a child's name), resolved to the module that defines the item: re-exports are followed, and are no edges
//! themselves. Code under `#[cfg(test)]` may use anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path below the root of the crate.
type Module = Vec<String>;

/// A crate: its modules, each with the code of its file.
struct Crate {
    code: BTreeMap<Module, Vec<String>>,
    uses: BTreeMap<Module, Vec<Use>>,
}

/// One name that a `use` brings into a module.
struct Use {
    /// Its name there; `*` for all names of the path.
    name: String,
    path: Vec<String>,
    exported: bool,
}

/// The words and signs of a text, without comments, the content of strings, and code for tests.
fn tokens(text: &str) -> Vec<String> {
    let (bytes, mut at, mut found) = (text.as_bytes(), 0, Vec::new());
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("r#\"") || rest.starts_with("r\"") {
            let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = at + 2 + hashes;
            at = text[body..]
                .find(&end)
                .map_or(text.len(), |to| body + to + end.len());
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if bytes[at] == b'\'' && rest[1..].starts_with('\\') {
            at += 2 + rest[2..].chars().next().map_or(0, char::len_utf8);
            at += text[at..].find('\'').map_or(0, |end| end + 1);
        } else if bytes[at] == b'\'' && rest.chars().nth(2) == Some('\'') {
            at += 2 + rest[1..].chars().next().map_or(0, char::len_utf8);
        } else if word(bytes[at]) {
            let end = rest.bytes().position(|b| !word(b)).unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            at += end;
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            at += 2;
        } else {
            let sign = rest.chars().next().unwrap();
            if !sign.is_whitespace() {
                found.push(sign.to_string());
            }
            at += sign.len_utf8();
        }
    }
    without_tests(found)
}

fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let (mut left, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
        if tokens[at..].len() < mark.len() || tokens[at..at + mark.len()] != mark {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // Up to the end of the item: a semicolon, or the brace that closes its body.
        let mut depth = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            at += 1;
            match token {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(token, ";" | "}") {
                break;
            }
        }
    }
    left
}

/// Reads the tree of a `use` from its first word on; answers the tokens that it has.
fn tree(tokens: &[String], before: &[String], found: &mut Vec<(String, Vec<String>)>) -> usize {
    let (mut path, mut at) = (before.to_vec(), 0);
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens[at] != "}" {
                    at += tree(&tokens[at..], &path, found);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            Some("*") => {
                found.push(("*".to_owned(), path));
                return at + 1;
            }
            Some(word) => path.push(word.to_owned()),
            None => return at,
        }
        at += 1;
        match tokens.get(at).map(String::as_str) {
            Some("::") => at += 1,
            Some("as") => {
                found.push((tokens[at + 1].clone(), path));
                return at + 2;
            }
            _ => {
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                found.push((path.last().cloned().unwrap_or_default(), path));
                return at;
            }
        }
    }
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        walk(root, &mut files);
        let mut code = BTreeMap::new();
        for path in files {
            let short = path.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module = short
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let skipped = ["tests", "main", "bin"];
            if path.extension().is_some_and(|end| end == "rs")
                && !module.iter().any(|part| skipped.contains(&part.as_str()))
            {
                code.insert(module, tokens(&fs::read_to_string(&path).unwrap()));
            }
        }
        let mut all = Self {
            code,
            uses: BTreeMap::new(),
        };
        for (module, tokens) in &all.code {
            let mut uses = Vec::new();
            for (at, token) in tokens.iter().enumerate() {
                let item = at == 0 || matches!(tokens[at - 1].as_str(), ";" | "}" | "{" | "]" | ")" | "pub");
                if token == "use" && item {
                    let exported = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
                    let mut found = Vec::new();
                    tree(&tokens[at + 1..], &[], &mut found);
                    uses.extend(found.into_iter().map(|(name, path)| Use { name, path, exported }));
                }
            }
            all.uses.insert(module.clone(), uses);
        }
        all
    }

    /// The module that a path begins at, and the rest of the path; `None` for another crate.
    fn begin<'a>(&self, from: &Module, path: &'a [String]) -> Option<(Module, &'a [String])> {
        let mut at = from.clone();
        match path.first()?.as_str() {
            "crate" => Some((Vec::new(), &path[1..])),
            "self" => Some((at, &path[1..])),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                at.truncate(at.len().saturating_sub(up));
                Some((at, &path[up..]))
            }
            child => {
                let mut module = at.clone();
                module.push(child.to_owned());
                self.code.contains_key(&module).then_some((at, path))
            }
        }
    }

    /// The module that defines what a path names; `None` for another crate.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (mut at, rest) = self.begin(from, path)?;
        for (index, part) in rest.iter().enumerate() {
            let mut child = at.clone();
            child.push(part.clone());
            if self.code.contains_key(&child) {
                at = child;
                continue;
            }
            let named = |one: &&Use| one.name == *part;
            let Some(alias) = self.uses.get(&at)?.iter().find(named) else {
                return Some(self.by_glob(&at, part, depth).unwrap_or(at));
            };
            if depth > 8 {
                return Some(at);
            }
            let mut path = alias.path.clone();
            path.extend_from_slice(&rest[index + 1..]);
            return self.resolve(&at, &path, depth + 1);
        }
        Some(at)
    }

    /// The module whose names another one exports together, where that one defines the name.
    fn by_glob(&self, at: &Module, name: &str, depth: usize) -> Option<Module> {
        let globs = self
            .uses
            .get(at)?
            .iter()
            .filter(|one| one.name == "*" && one.exported);
        globs
            .filter(|_| depth < 8)
            .filter_map(|one| self.resolve(at, &one.path, depth + 1))
            .find(|module| {
                let kinds = [
                    "struct", "enum", "fn", "type", "const", "trait", "static", "union",
                ];
                let code = &self.code[module];
                code.windows(2)
                    .any(|pair| kinds.contains(&pair[0].as_str()) && pair[1] == name)
            })
    }

    /// The modules that each module needs.
    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, tokens) in &self.code {
            let mut to = BTreeSet::new();
            for one in &self.uses[module] {
                if !one.exported {
                    to.extend(self.resolve(module, &one.path, 0));
                }
            }
            let mut at = 0;
            while at < tokens.len() {
                if tokens[at] == "use" {
                    while at < tokens.len() && tokens[at] != ";" {
                        at += 1;
                    }
                }
                let begins = at == 0 || !matches!(tokens[at - 1].as_str(), "::" | ".");
                let mut path = vec![tokens[at.min(tokens.len() - 1)].clone()];
                while tokens.get(at + 1).is_some_and(|sign| sign == "::") {
                    let word = tokens
                        .get(at + 2)
                        .filter(|word| word.starts_with(|c: char| c.is_alphabetic()));
                    let Some(word) = word else { break };
                    path.push(word.clone());
                    at += 2;
                }
                at += 1;
                if begins && path.len() > 1 {
                    to.extend(self.resolve(module, &path, 0));
                }
            }
            to.remove(module);
            edges.insert(module.clone(), to);
        }
        edges
    }

    /// The circles: the folder of each, and a way from one of its entries back to itself, with the modules that make
    /// each step.
    fn circles(&self) -> Vec<(String, String)> {
        let edges = self.edges();
        let mut folders: BTreeSet<Module> = BTreeSet::new();
        for module in self.code.keys() {
            folders.extend((0..module.len()).map(|depth| module[..depth].to_vec()));
        }
        let mut circles = Vec::new();
        for folder in folders {
            // An entry of this folder: a child, or the folder's own file.
            let entry = |module: &Module| -> Option<String> {
                let inside = module.strip_prefix(folder.as_slice())?;
                Some(inside.first().map_or_else(|| "mod".to_owned(), Clone::clone))
            };
            let mut graph: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
            for (from, to) in edges
                .iter()
                .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
            {
                if let (Some(a), Some(b)) = (entry(from), entry(to))
                    && a != b
                {
                    let step = format!("{} → {}", from.join("::"), to.join("::"));
                    graph.entry(a).or_default().entry(b).or_insert(step);
                }
            }
            let reach = |from: &String| -> BTreeMap<String, String> {
                let mut before: BTreeMap<String, String> = BTreeMap::new();
                let mut queue = VecDeque::from([from.clone()]);
                while let Some(at) = queue.pop_front() {
                    for to in graph.get(&at).into_iter().flat_map(BTreeMap::keys) {
                        if !before.contains_key(to) {
                            before.insert(to.clone(), at.clone());
                            queue.push_back(to.clone());
                        }
                    }
                }
                before
            };
            let all: BTreeMap<&String, BTreeMap<String, String>> =
                graph.keys().map(|node| (node, reach(node))).collect();
            let mut seen: BTreeSet<&String> = BTreeSet::new();
            for (node, before) in &all {
                if seen.contains(*node) || !before.contains_key(*node) {
                    continue;
                }
                let group: Vec<&String> = all
                    .iter()
                    .filter(|(other, back)| before.contains_key(**other) && back.contains_key(*node))
                    .map(|(other, _)| *other)
                    .collect();
                seen.extend(&group);
                let (mut steps, mut at) = (Vec::new(), (*node).clone());
                loop {
                    let from = before[&at].clone();
                    steps.push(graph[&from][&at].clone());
                    at = from;
                    if at == **node {
                        break;
                    }
                }
                steps.reverse();
                circles.push((folder.join("::"), format!("{group:?}, as {}", steps.join(", "))));
            }
        }
        circles
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn no_modules_need_each_other() {
    let mut circles = Vec::new();
    for root in ["src", "connectors/host/src", "connectors/conformance/src"] {
        let of = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        assert!(
            of.edges().values().map(BTreeSet::len).sum::<usize>() > 30,
            "{root}"
        );
        let found = of.circles().into_iter();
        circles.extend(found.map(|(folder, circle)| format!("{root}, in {folder:?}: {circle}")));
    }
    assert!(
        circles.is_empty(),
        "{} circles:\n{}",
        circles.len(),
        circles.join("\n")
    );
}

/// The check finds a circle of two files, of two folders, and through a re-export, and none that only tests make.
#[test]
fn a_circle_is_found() {
    let of = |files: &[(&str, &str)]| {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Crate::read(root.path()).circles().len()
    };
    let back = ("b.rs", "pub struct B; fn f() { crate::a::f() }");
    assert_eq!(of(&[("a.rs", "use crate::b::B; pub fn f() {}"), back]), 1);
    assert_eq!(
        of(&[("a.rs", "// crate::b::B\npub fn f() { \"crate::b::B\"; }"), back]),
        0
    );
    assert_eq!(
        of(&[
            (
                "a.rs",
                "#[cfg(test)] mod tests { use crate::b::B; } pub fn f() {}"
            ),
            back
        ]),
        0
    );
    let folder = [
        ("a/mod.rs", "mod x; pub use x::X;"),
        ("a/x.rs", "use crate::b::{c::{self, B}, d}; pub struct X;"),
        ("b/mod.rs", "pub mod c; pub mod d;"),
        ("b/c.rs", "pub struct B;"),
        ("b/d.rs", "use crate::a::X;"),
    ];
    assert_eq!(of(&folder), 1);
    // The parent uses its child, the child what the parent only passes on: no circle.
    let passed_on = [
        ("a/mod.rs", "mod x; mod y; pub use y::Y; fn f() { x::f() }"),
        ("a/x.rs", "use super::Y; pub fn f() {}"),
        ("a/y.rs", "pub struct Y;"),
    ];
    assert_eq!(of(&passed_on), 0);
    let own = [
        ("a/mod.rs", "mod x; pub struct Y; fn f() { x::f() }"),
        ("a/x.rs", "use super::Y; pub fn f() {}"),
    ];
    assert_eq!(of(&own), 1);
}
