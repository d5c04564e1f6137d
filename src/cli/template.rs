//! `tether connectors new`: creates the sources of a connector, as a copy of `connectors/template` with another name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The SDK in the checkout where this program was built, if it still exists.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/sdk");

macro_rules! files {
    ($($file:literal),+ $(,)?) => {
        [$(($file, include_str!(concat!("../../connectors/template/", $file)))),+]
    };
}

/// The files of the template. A test compares the list with the folder.
pub const FILES: [(&str, &str); 16] = files![
    "Cargo.toml",
    "README.md",
    "conformance.toml",
    "connector.toml",
    "fixture/crm.rs",
    "fixture/main.rs",
    "gitignore",
    "install",
    "src/api.rs",
    "src/auth.rs",
    "src/fields.rs",
    "src/lib.rs",
    "src/options.rs",
    "src/read.rs",
    "src/rows.rs",
    "tests/fixture.rs",
];

/// Why the connector was not created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is invalid.
    #[error(
        "{0:?} is not a valid connector name: it must begin with a letter and may have letters a-z, digits and single dashes, at most 40"
    )]
    Name(String),
    /// A file or folder of this name already exists.
    #[error("{} already exists: choose another name or another --into", .0.display())]
    Exists(PathBuf),
    /// `--sdk` is missing, and there is no SDK where this program was built.
    #[error("{} is not an SDK: set --sdk to the folder connectors/sdk of a checkout of tether", .0.display())]
    NoSdk(PathBuf),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
}

/// Creates a connector in a new folder with its name; returns the folder.
///
/// # Errors
/// See [`Error`]; existing files are never overwritten.
pub fn create(name: &str, into: &Path, sdk: Option<&Path>) -> Result<PathBuf, Error> {
    check(name)?;
    let sdk = sdk.unwrap_or(Path::new(OWN_SDK));
    let sdk = match sdk.canonicalize() {
        Ok(real) if real.join("Cargo.toml").is_file() => real,
        _ => return Err(Error::NoSdk(sdk.to_owned())),
    };
    let folder = into.join(name);
    if folder.exists() {
        return Err(Error::Exists(folder));
    }
    for (file, text) in FILES {
        let path = match file {
            "gitignore" => folder.join(".gitignore"),
            file => folder.join(file),
        };
        let written = write(&path, &renamed(file, text, name, &sdk), file == "install");
        written.map_err(|source| Error::Io { path, source })?;
    }
    Ok(folder)
}

fn check(name: &str) -> Result<(), Error> {
    let parts = || name.split('-');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && parts().all(|part| !part.is_empty() && part.chars().all(plain));
    match good {
        true => Ok(()),
        false => Err(Error::Name(name.to_owned())),
    }
}

/// Renames the connector in a file of the template. In these files, the word "template" only stands for the name.
fn renamed(file: &str, text: &str, name: &str, sdk: &Path) -> String {
    let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    let words: Vec<String> = name.split('-').map(capital).collect();
    let text = text
        .replace(
            "tether_connector_template",
            &format!("tether_connector_{}", name.replace('-', "_")),
        )
        .replace("TemplateConnector", &format!("{}Connector", words.concat()))
        .replace("Template", &words.join(" "))
        .replace("template", name);
    if file != "Cargo.toml" {
        return text;
    }
    // A separate workspace, so that it builds in any folder.
    let path = format!("path = {}", toml::Value::from(sdk.to_string_lossy().as_ref()));
    text.replace("path = \"../sdk\"", &path) + "\n[workspace]\n"
}

fn write(path: &Path, text: &str, program: bool) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    if program {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files below a folder, except build output.
    fn files_below(folder: &Path, of: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => files_below(&path, of, found),
                false => found.push(path.strip_prefix(of).unwrap().display().to_string()),
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_copied() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/template");
        let mut found = Vec::new();
        files_below(&folder, &folder, &mut found);
        found.sort();
        assert_eq!(found, FILES.map(|(file, _)| file));
    }

    #[test]
    fn a_copy_has_the_new_name_everywhere() {
        let into = tempfile::tempdir().unwrap();
        let folder = create("big-deals2", into.path(), None).unwrap();
        for (file, _) in FILES.iter().filter(|(file, _)| *file != "gitignore") {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(!text.to_ascii_lowercase().contains("template"), "{file}");
        }
        let library = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(
            library.contains("export_connector!(BigDeals2Connector)"),
            "{library}"
        );
        let cargo = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(
            cargo.contains(OWN_SDK) && cargo.ends_with("[workspace]\n"),
            "{cargo}"
        );
        assert!(matches!(
            create("big-deals2", into.path(), None),
            Err(Error::Exists(_))
        ));
        for wrong in [
            "",
            "Acme",
            "1st",
            "a--b",
            "-a",
            "a-",
            "a_b",
            "../a",
            &"a".repeat(41),
        ] {
            assert!(
                matches!(create(wrong, into.path(), None), Err(Error::Name(_))),
                "{wrong}"
            );
        }
        assert!(matches!(
            create("a", into.path(), Some(into.path())),
            Err(Error::NoSdk(_))
        ));
    }
}
