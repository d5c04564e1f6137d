//! A simulator that runs in a process of its own and ends with the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value as Json, json};

/// A running simulator. Its process ends when the value is dropped.
pub struct Simulator {
    child: Child,
    /// Its address, `http://127.0.0.1:<port>`.
    pub base: String,
    /// A client for its control interface.
    pub http: reqwest::Client,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of a simulator: the one that the environment names (`SALESFORCE_SIM` for `salesforce-sim`), or that of
/// this workspace, built if it does not exist. A test program uses one simulator.
fn program(name: &str) -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let variable = name.replace('-', "_").to_uppercase();
            if let Some(named) = std::env::var_os(variable) {
                return named.into();
            }
            // In the folder and profile of the test. Cargo decides whether the existing one is up to date.
            let test = std::env::current_exe().unwrap();
            let folder = test.ancestors().nth(2).unwrap();
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "-p", name]);
            if folder.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(built.success(), "{name} does not build");
            folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
        })
        .clone()
}

impl Simulator {
    /// Starts a simulator by its program's name, on a free port.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        // reqwest requires a provider even for plain http.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(program(name))
            .args(["--port", "0", "--exit-with-parent"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addresses: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let base = addresses["http"]
            .as_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        // The rest is read until its end, so that the simulator never blocks on output.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            base,
            http: reqwest::Client::new(),
        }
    }

    /// Its host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Json {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.base);
        let response = self.http.get(url).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        text
    }

    /// Posts to a path of the control interface.
    pub async fn control(&self, path: &str, body: Json) -> Json {
        let url = format!("{}/control{path}", self.base);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Json::Null)
    }

    /// Adds a fault for later requests.
    pub async fn fault(&self, fault: Json) {
        self.control("/faults", fault).await;
    }

    /// Asserts that every fault was used.
    pub async fn assert_faults_used(&self, fault: &Json) {
        let left = self.get("/control/faults").await;
        assert_eq!(left["faults"], json!([]), "{fault} was not used");
    }

    /// Clears what was set at a path of the control interface, such as `faults`.
    pub async fn clear(&self, what: &str) {
        let url = format!("{}/control/{what}", self.base);
        let cleared = self.http.delete(url).send().await.unwrap();
        assert!(cleared.status().is_success(), "{what}: {}", cleared.status());
    }

    /// Clears the log of requests.
    pub async fn forget(&self) {
        self.clear("requests").await;
    }

    /// The log of requests: `requests`, `writes` (their number) and `writeRequests`.
    pub async fn journal(&self) -> Json {
        self.get("/control/requests?limit=100000").await
    }

    /// The requests of a kind since the log was cleared; all without a kind.
    pub async fn requests(&self, kind: &str) -> Vec<Json> {
        let requests = self.journal().await["requests"].as_array().unwrap().clone();
        let of_kind = requests
            .into_iter()
            .filter(|request| kind.is_empty() || request["kind"] == kind);
        of_kind.collect()
    }

    /// The expected rows of a complete read, including removed ones; `query` names the object and further
    /// parameters of the simulator.
    pub async fn truth(&self, query: &str) -> Vec<Json> {
        let text = self.text(&format!("/control/truth?deleted=true&{query}")).await;
        let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
        rows.collect()
    }

    /// Acts as the browser: opens the page of a login, chooses a user, decides (`allow` or `deny`); returns the query
    /// of the callback.
    pub async fn approve(&self, url: &str, username: &str, decision: &str) -> HashMap<String, String> {
        let url = reqwest::Url::parse(url).unwrap();
        let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        form.push(("username".into(), username.into()));
        form.push(("decision".into(), decision.into()));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let address = format!("{}{}", self.base, url.path());
        let response = client.post(address).form(&form).send().await.unwrap();
        let location = response.headers().get("location").expect("a redirect");
        let callback = reqwest::Url::parse(location.to_str().unwrap()).unwrap();
        callback.query_pairs().into_owned().collect()
    }
}
