//! `cargo xtask demo [ARGUMENT]…`: builds everything and runs `tether demo`.
//!
//! `cargo xtask connectors [--release | --built] [--connector NAME]…`: builds the connector libraries of this
//! repository and lays them out as the server expects them:
//! `<target>/connectors/<name>/{connector.toml,lib…}`. With `--built` it builds nothing and lays out the
//! libraries of the last build of the whole workspace, with the features of that build (./test builds with
//! those of the tests).
//!
//! Cargo does not build another package's dynamic library for a test or a run, so this command does. If
//! nothing has changed it takes as long as cargo's check.

use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "cargo xtask connectors [--release | --built] [--connector NAME]… | demo [ARGUMENT]…";

/// All packages at once: cargo unites the features of packages that it builds together, so a dependency built
/// for one package alone would be built again for all. xtask itself is running and is left out.
const WORKSPACE: [&str; 6] = ["build", "--workspace", "--exclude", "xtask", "--lib", "--bins"];

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    match arguments.next().as_deref() {
        Some("connectors") => {}
        Some("demo") => return demo(arguments.collect()),
        _ => return Err(format!("usage: {USAGE}").into()),
    }
    let (mut release, mut built) = (false, false);
    let mut wanted = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--release" => release = true,
            "--built" => built = true,
            "--connector" => wanted.push(arguments.next().ok_or("--connector needs a name")?),
            other => return Err(format!("{other} is not known; usage: {USAGE}").into()),
        }
    }
    if release && built {
        return Err("--built is for development builds".into());
    }
    if !built {
        build(release, &wanted)?;
    }
    lay_out(release, &wanted)
}

/// Builds everything, then replaces this process by the demo.
fn demo(arguments: Vec<String>) -> Result<()> {
    let (root, target) = folders()?;
    eprintln!("building tether, its connectors and the simulator (some minutes the first time) …");
    let mut build = cargo(&root, &target);
    build.args(WORKSPACE);
    if !build.status()?.success() {
        return Err("tether does not build".into());
    }
    lay_out(false, &[])?;
    let failed = Command::new(target.join("debug/tether"))
        .args(["demo", "--connectors"])
        .arg(target.join("connectors"))
        .args(arguments)
        .exec();
    Err(failed.into())
}

/// The checkout and its target folder.
fn folders() -> Result<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask has no parent folder")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok((root.to_owned(), target))
}

fn cargo(root: &Path, target: &Path) -> Command {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(root).env("CARGO_TARGET_DIR", target);
    // `cargo run` sets these variables. Build scripts that watch them (such as ring's) would run again, with
    // everything that depends on them, whenever a build by this xtask follows one without it.
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&variable);
        }
    }
    build
}

/// Builds the connector libraries.
fn build(release: bool, wanted: &[String]) -> Result<()> {
    let (root, target) = folders()?;
    let names = names(&root, wanted)?;
    let mut build = cargo(&root, &target);
    if release || !wanted.is_empty() {
        build.args(["build", "--quiet", "--lib"]);
        for name in &names {
            build.args(["--package", &format!("tether-connector-{name}")]);
        }
    } else {
        build.arg("--quiet").args(WORKSPACE);
    }
    if release {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the connectors do not build".into());
    }
    Ok(())
}

/// Copies the built libraries to where the server looks for them, each with its manifest.
fn lay_out(release: bool, wanted: &[String]) -> Result<()> {
    let (root, target) = folders()?;
    let names = names(&root, wanted)?;
    let built = target.join(if release { "release" } else { "debug" });
    for name in &names {
        let library = format!(
            "{}tether_connector_{}{}",
            env::consts::DLL_PREFIX,
            name.replace('-', "_"),
            env::consts::DLL_SUFFIX
        );
        let bytes = fs::read(built.join(&library))?;
        let manifest = fs::read_to_string(root.join("connectors").join(name).join("connector.toml"))?;
        let manifest = format!(
            "{manifest}\n[library.\"{}-{}\"]\npath = \"{library}\"\nsha256 = \"{}\"\n",
            env::consts::ARCH,
            env::consts::OS,
            hex(&Sha256::digest(&bytes)),
        );
        let folder = target.join("connectors").join(name);
        fs::create_dir_all(&folder)?;
        // The library first: a manifest never names a hash of a file that does not exist yet.
        replace(&folder.join(&library), &bytes)?;
        replace(&folder.join("connector.toml"), manifest.as_bytes())?;
        // Files of the demo and the conformance kit.
        for extra in ["demo.toml", "conformance.toml"] {
            let file = root.join("connectors").join(name).join(extra);
            if file.is_file() {
                replace(&folder.join(extra), &fs::read(file)?)?;
            }
        }
    }
    #[expect(clippy::print_stdout, reason = "the folder is what a caller wants to read")]
    {
        println!("{}", target.join("connectors").display());
    }
    Ok(())
}

/// The connectors of this repository: folders with a manifest.
fn names(root: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in fs::read_dir(root.join("connectors"))? {
        let folder = folder?;
        // The template is to be copied, not used.
        let is_connector = folder.file_name() != "template" && folder.path().join("connector.toml").is_file();
        if is_connector {
            names.push(folder.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(format!("there is no connector {unknown}; there are {}", names.join(", ")).into());
    }
    if !wanted.is_empty() {
        names.retain(|name| wanted.contains(name));
    }
    Ok(names)
}

/// Replaces a file atomically if it differs, because a running server may have mapped the old one.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes)?;
    fs::rename(&new, path)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
