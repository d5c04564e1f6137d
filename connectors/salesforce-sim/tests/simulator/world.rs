//! A simulator of its own for each test, and a client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, Method, Response};
use salesforce_sim::{Options, Sim, related};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const V: &str = "/services/data/v62.0";
pub(crate) const ADMIN: &str = "admin@acme.example";
pub(crate) const RESTRICTED: &str = "restricted@acme.example";

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) http: Client,
}

impl World {
    pub(crate) async fn start(accounts: u32, skew: u32) -> World {
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = Options {
            counts: related(accounts),
            ..Options::default()
        };
        options.counts.skew = skew;
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        World {
            sim: Sim::start(&options).await.unwrap(),
            http,
        }
    }

    pub(crate) async fn control(&self, path: &str, body: Value) -> Value {
        let answer = self
            .http
            .post(format!("{}{path}", self.sim.control))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub(crate) async fn seen(&self, path: &str) -> Value {
        self.http
            .get(format!("{}{path}", self.sim.control))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    pub(crate) async fn as_user(&self, user: &str) -> Api<'_> {
        let token = self.control("/oauth/token", json!({ "user": user })).await;
        Api {
            world: self,
            token: token["access_token"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let client = [
            ("client_id", "3MVG9tether.demo"),
            ("client_secret", "tether-demo-secret"),
        ];
        let form: Vec<_> = form.iter().chain(&client).collect();
        let answer = self
            .http
            .post(format!("{}/services/oauth2/token", self.sim.http))
            .form(&form)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// A code for the verifier `verifier`, approved as this user.
    pub(crate) async fn code(&self, user: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest("verifier"));
        let authorize = url::Url::parse_with_params(
            &format!("{}/services/oauth2/authorize", self.sim.http),
            [
                ("response_type", "code"),
                ("client_id", "3MVG9tether.demo"),
                ("state", "s 1"),
                ("redirect_uri", "http://localhost:1/cb"),
                ("scope", "api refresh_token id"),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ],
        )
        .unwrap();
        let page = self
            .http
            .get(authorize.clone())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(page.contains("Allow") && page.contains(user));
        let asked = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("url", authorize.as_str())
            .append_pair("username", user)
            .finish();
        let approved = self.seen(&format!("/oauth/approve?{asked}")).await;
        assert_eq!(approved["state"], "s 1");
        approved["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn login(&self, user: &str) -> Value {
        let code = self.code(user).await;
        let (status, token) = self.exchange(&code).await;
        assert_eq!(status, 200, "{token}");
        token
    }

    pub(crate) async fn exchange(&self, code: &str) -> (u16, Value) {
        let uri = ("redirect_uri", "http://localhost:1/cb");
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", "verifier"),
            uri,
        ])
        .await
    }

    pub(crate) async fn refresh(&self, token: &Value) -> (u16, Value) {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", token["refresh_token"].as_str().unwrap()),
        ])
        .await
    }
}

pub(crate) struct Api<'a> {
    pub(crate) world: &'a World,
    pub(crate) token: String,
}

impl Api<'_> {
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self
            .world
            .http
            .request(method, format!("{}{path}", self.world.sim.http));
        let request = request.bearer_auth(&self.token);
        let request = if let Some(body) = body {
            request.json(&body)
        } else {
            request
        };
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.send(Method::GET, path, None).await;
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn query(&self, soql: &str) -> Value {
        let (status, body) = self.try_query("query", soql).await;
        assert_eq!(status, 200, "{soql}: {body}");
        body
    }

    pub(crate) async fn try_query(&self, kind: &str, soql: &str) -> (u16, Value) {
        let q = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("q", soql)
            .finish();
        self.get(&format!("{V}/{kind}?{q}")).await
    }

    pub(crate) async fn count(&self, soql: &str) -> u64 {
        self.query(soql).await["totalSize"].as_u64().unwrap()
    }

    /// Reads a whole object, as a connector does: by keyset, following unfinished pages.
    pub(crate) async fn read(&self, object: &str, fields: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let from = all.last().map_or(String::new(), |r| {
                format!("WHERE Id > '{}' ", r["Id"].as_str().unwrap())
            });
            let soql = format!("SELECT {fields} FROM {object} {from}ORDER BY Id LIMIT 2000");
            let mut page = self.query(&soql).await;
            let before = all.len();
            loop {
                all.extend(page["records"].as_array().unwrap().iter().cloned());
                let Some(next) = page["nextRecordsUrl"].as_str() else {
                    break;
                };
                page = self.get(next).await.1;
            }
            if all.len() - before < 2000 {
                return all;
            }
        }
    }
}
