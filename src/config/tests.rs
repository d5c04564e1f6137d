//! Tests of `config.rs`.

use super::*;

fn load(file: &str, flags: &[(&str, &str)]) -> Result<Options, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tether.toml");
    std::fs::write(&path, file).unwrap();
    let flags: Vec<_> = flags
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Options::load(Some(&path), &flags)
}

#[test]
fn layers_and_rules() {
    let options = load(
        "dev = true\n[sync]\nworkers = 3",
        &[("listen.grpc", "127.0.0.1:0")],
    )
    .unwrap();
    assert_eq!((options.sync.workers, options.listen.grpc.port()), (3, 0));
    for (file, text) in [
        ("", "jwks_file"),
        ("dev = true\n[listen]\ngrpc = '0.0.0.0:1'", "loopback"),
        ("dev = true\n[listen]\nadmin = '0.0.0.0:1'", "listen.admin"),
        ("dev = true\nsurprise = 1", "surprise"),
        ("dev = true\n[audit]\nkeep_days = 0", "keep_days"),
        ("dev = true\n[sync]\nremoval_percent = 101", "removal_percent"),
        (
            "dev = true\n[allowance]\norganization_percent = 96",
            "allowance.live_percent",
        ),
        (
            "dev = true\n[web]\nallowed_origins = ['https://a.example/']",
            "not an origin",
        ),
        (
            "dev = true\nredirect_uris = ['https://a.example\\\\@b.example/']",
            "redirect_uris",
        ),
        (
            "dev = true\nredirect_uris = ['http://a.example/callback']",
            "redirect_uris",
        ),
        ("dev = true\npublic_url = 'https://a.example/?x'", "public_url"),
        ("dev = true\n[drafts]\nkeep_days = 0", "keep_days"),
        ("dev = true\n[login]\nminutes = 90", "login.minutes"),
        ("dev = true\n[grants]\nrefresh_days = 0", "refresh_days"),
        (
            "dev = true\n[grants]\nlongest_retry_seconds = 1",
            "longest_retry_seconds",
        ),
        (
            "dev = true\n[web]\nallowed_origins = 'a.example'",
            "not an origin",
        ),
        (
            "[web]\nallowed_origins = ['*']\n[auth]\njwks_file = 'x'\nissuer = 'i'\naudience = 'a'\n[secrets]\nkeys = 'k'",
            "name the origins",
        ),
    ] {
        let error = load(file, &[]).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn secrets_are_masked() {
    let options = load(
        "dev = true\n[connector.any.settings]\nclient_secret = 'CANARY'\n[secrets]\nkeys = 'CANARY'\n\
         [database]\nurl = 'postgres://u:CANARY@h/d'",
        &[],
    )
    .unwrap();
    assert!(!format!("{options:?}").contains("CANARY"));
}
