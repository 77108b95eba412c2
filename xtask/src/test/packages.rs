//! Checks the packages for publication: they must be complete and work outside this repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shell::{self, root};

/// Files that a package must contain besides its code.
const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// A crate that will be published.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
}

impl Package {
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// Packages every crate that is not `publish = false`, and builds it from its package. Its tests must pass in a
/// separate folder.
pub fn check() -> Result<()> {
    let metadata = shell::output(
        Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()),
    )?;
    let packages = published(&serde_json::from_str(&metadata).context("`cargo metadata` gave no JSON")?)?;
    let selection: Vec<&str> = packages.iter().flat_map(|package| ["--package", package.name.as_str()]).collect();

    for package in &packages {
        let listed = shell::output(cargo_package(&["--list", "--package", &package.name]).current_dir(root()))?;
        for file in FILES {
            ensure!(listed.lines().any(|line| line == file), "the package `{}` has no {file}", package.name);
        }
    }
    shell::run(&mut cargo_package(&selection))?;

    // The folder is outside the repository, so that only the package can be found.
    let folder = std::env::temp_dir().join(format!("elbo-packages-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let result = packages
        .iter()
        .try_for_each(|package| unpack(package, &folder))
        .and_then(|()| packages.iter().try_for_each(|package| test(package, &packages, &folder)));
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    result
}

fn cargo_package(options: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["package", "--allow-dirty", "--quiet"]).args(options).current_dir(root());
    command
}

fn unpack(package: &Package, folder: &Path) -> Result<()> {
    let archive = root().join("target/package").join(format!("{}.crate", package.folder()));
    // Packaged files have a fixed date. With today's date, cargo sees that they have changed since an earlier run.
    shell::run(Command::new("tar").arg("xzf").arg(archive).args(["--touch", "-C"]).arg(folder))
}

/// Runs the tests of an unpacked package. It depends on the packages of the other crates, as if they were published.
fn test(package: &Package, all: &[Package], folder: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--quiet", "--target-dir"])
        .arg(root().join("target/packages"))
        .current_dir(folder.join(package.folder()));
    for other in all.iter().filter(|other| *other != package) {
        let path = folder.join(other.folder());
        command.arg("--config").arg(format!("patch.crates-io.{}.path={:?}", other.name, path.display().to_string()));
    }
    shell::run(&mut command)
}

/// The packages of a workspace that may be published, in cargo's order.
fn published(metadata: &Value) -> Result<Vec<Package>> {
    let all = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    let open: Vec<&Value> = all.iter().filter(|package| package["publish"].is_null()).collect();
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_owned();
    for package in &open {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let inside = dependency["path"].is_string() && dependency["kind"] != "dev";
            ensure!(
                !inside || open.iter().any(|other| other["name"] == dependency["name"]),
                "`{}` cannot be published: it needs `{}`, which has `publish = false`. Give it `publish = false` too.",
                name(package),
                name(dependency)
            );
        }
    }
    ensure!(!open.is_empty(), "every crate has `publish = false`");
    let version = |package: &Value| package["version"].as_str().unwrap_or_default().to_owned();
    Ok(open.iter().map(|package| Package { name: name(package), version: version(package) }).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, publish: Option<&[&str]>, dependencies: Value) -> Value {
        json!({ "name": name, "version": "0.1.0", "publish": publish, "dependencies": dependencies })
    }

    #[test]
    fn what_is_published_stands_without_what_is_not() {
        let private = package("tool", Some(&[]), json!([]));
        let runtime = package("runtime", None, json!([{ "name": "tool", "path": "/tool", "kind": "dev" }]));
        let writer = package("writer", None, json!([{ "name": "runtime", "path": "/runtime", "kind": null }]));
        let wrong = package("wrong", None, json!([{ "name": "tool", "path": "/tool", "kind": null }]));

        let names = |packages: &[&Value]| {
            let packages = published(&json!({ "packages": packages }));
            packages.map(|packages| packages.into_iter().map(|package| package.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[&private, &runtime, &writer]).unwrap(), ["runtime", "writer"]);
        let error = names(&[&private, &runtime, &wrong]).unwrap_err().to_string();
        assert!(error.contains("`wrong`") && error.contains("`tool`"), "{error}");
        assert!(names(&[&private]).is_err());
    }
}
