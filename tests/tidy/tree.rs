//! The source files of the workspace, and the order in which their modules are listed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Crates whose modules are in reading order.
pub(crate) const CRATES: &[&str] = &["proto", "repository", "agent", "coordinator", "cli"];

/// A module's path within its crate; the crate's root is empty.
pub(crate) type ModulePath = Vec<String>;

/// One source file.
pub(crate) struct File {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl File {
    /// Whether this is the file, or is in the folder, that `prefix` names.
    pub(crate) fn is_in(&self, prefix: &str) -> bool {
        Path::new(&self.path).starts_with(prefix)
    }

    /// The text without comments and without the unit tests at its end.
    pub(crate) fn production(&self) -> String {
        if self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let end = self
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        let code = |line: &&str| !line.trim_start().starts_with("//");
        self.text[..end]
            .lines()
            .filter(code)
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    /// Which module of the crate in `folder` this file is; `None` for files elsewhere.
    pub(crate) fn module(&self, folder: &str) -> Option<ModulePath> {
        let inner = self
            .path
            .strip_prefix(folder)?
            .strip_prefix("/src/")?
            .strip_suffix(".rs")?;
        let mut path: ModulePath = inner.split('/').map(str::to_owned).collect();
        if matches!(
            path.last().map(String::as_str),
            Some("mod" | "lib" | "main")
        ) {
            path.pop();
        }
        Some(path)
    }
}

/// What each module of a crate lists, in the order of its file.
pub(crate) fn modules(folder: &str) -> BTreeMap<ModulePath, Vec<String>> {
    let mut found = BTreeMap::new();
    for file in files() {
        if let Some(path) = file.module(folder) {
            found
                .entry(path)
                .or_insert_with(Vec::new)
                .extend(listed(&file.text));
        }
    }
    found
}

/// If `used` is listed below the module at `own`, the two names in their common list: (own, used).
pub(crate) fn downward<'a>(
    modules: &BTreeMap<ModulePath, Vec<String>>,
    own: &'a [String],
    used: &'a [String],
) -> Option<(&'a str, &'a str)> {
    let common = own.iter().zip(used).take_while(|(a, b)| a == b).count();
    let (own_name, used_name) = (own.get(common)?, used.get(common)?);
    let list = modules.get(&own[..common])?;
    let place = |name: &String| list.iter().position(|listed| listed == name);
    // A name that is no module is an item of the common parent.
    (place(used_name)? > place(own_name)?).then_some((own_name, used_name))
}

/// The names in `mod name;` lines.
fn listed(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let declaration = line.strip_suffix(';')?;
        let (visibility, name) = declaration.split_once("mod ")?;
        (visibility.is_empty() || visibility.starts_with("pub")).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file, build output excluded, in a stable order.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = CRATES
        .iter()
        .chain(&["tests", "fuzz"])
        .map(|folder| root.join(folder))
        .collect();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("list a source folder") {
            let path = entry.expect("read a folder entry").path();
            if path.is_dir() && !path.ends_with("target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("read a source file");
                let relative = path
                    .strip_prefix(&root)
                    .expect("it was found under the root");
                found.push(File {
                    path: relative.display().to_string(),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[test]
fn a_module_listed_below_is_downward() {
    let names = |path: &str| path.split("::").map(str::to_owned).collect::<ModulePath>();
    let modules = BTreeMap::from([
        (
            Vec::new(),
            listed("pub mod id;\nmod random;\npub(crate) mod store;\nmod tests {\n"),
        ),
        (names("store"), listed("mod error;\nmod memory;\n")),
    ]);
    let downward = |own: &str, used: &str| {
        downward(&modules, &names(own), &names(used)).map(|(own, used)| format!("{own} < {used}"))
    };
    assert_eq!(
        downward("id", "store::Store").as_deref(),
        Some("id < store")
    );
    assert_eq!(
        downward("store::error", "store::memory::X").as_deref(),
        Some("error < memory")
    );
    assert_eq!(downward("store::memory", "store::error::X"), None);
    assert_eq!(
        downward("store::memory", "store::Store"),
        None,
        "an item of the parent"
    );
    assert_eq!(downward("store", "id::X"), None);
}
