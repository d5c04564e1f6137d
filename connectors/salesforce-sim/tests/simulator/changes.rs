//! Changes by the control routes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Api, RESTRICTED, V, World};

/// Accounts of a simulator, before anything has changed.
struct Accounts<'w> {
    world: &'w World,
    api: Api<'w>,
    rows: Value,
}

#[tokio::test]
async fn changes_show_where_salesforce_shows_them() {
    let world = World::start(300, 0).await;
    let api = world.as_user(ADMIN).await;
    let rows = api.query("SELECT Id, SystemModstamp FROM Account LIMIT 6").await;
    let accounts = Accounts {
        world: &world,
        api,
        rows,
    };
    accounts.updates_move_the_stamp_or_not().await;
    accounts.deletions_take_the_contacts_along().await;
    accounts.merges_move_the_contacts().await;
    accounts.purged_rows_are_gone().await;
    accounts.new_rows_are_read().await;
}

impl Accounts<'_> {
    fn id(&self, n: usize) -> String {
        self.rows["records"][n]["Id"].as_str().unwrap().to_owned()
    }

    async fn one(&self, id: &str) -> Value {
        self.api
            .query(&format!(
                "SELECT Name, ARR__c, SystemModstamp FROM Account WHERE Id = '{id}'"
            ))
            .await["records"][0]
            .clone()
    }

    /// The number of contacts of some accounts.
    async fn contacts_of(&self, accounts: &[String]) -> u64 {
        let ids = accounts.join("','");
        self.api
            .count(&format!(
                "SELECT COUNT() FROM Contact WHERE AccountId IN ('{ids}')"
            ))
            .await
    }

    async fn updates_move_the_stamp_or_not(&self) {
        let (world, rows) = (self.world, &self.rows);
        world
            .control(
                "/records/update",
                json!({ "id": self.id(0), "fields": { "Name": "New & \"Co\"" } }),
            )
            .await;
        let changed = self.one(&self.id(0)).await;
        assert_eq!(changed["Name"], "New & \"Co\"");
        assert_ne!(changed["SystemModstamp"], rows["records"][0]["SystemModstamp"]);
        let fields = json!({ "ARR__c": 12.5 });
        world
            .control(
                "/records/update",
                json!({ "id": self.id(1), "fields": fields, "moveStamp": false }),
            )
            .await;
        let formula = self.one(&self.id(1)).await;
        assert_eq!(
            (&formula["ARR__c"], &formula["SystemModstamp"]),
            (&json!(12.5), &rows["records"][1]["SystemModstamp"])
        );
    }

    async fn deletions_take_the_contacts_along(&self) {
        let (world, api) = (self.world, &self.api);
        let gone = self.contacts_of(&[self.id(2)]).await;
        let contacts = api.count("SELECT COUNT() FROM Contact").await;
        world
            .control("/records/delete", json!({ "id": self.id(2) }))
            .await;
        assert_eq!(api.count("SELECT COUNT() FROM Contact").await, contacts - gone);
        assert_eq!(
            api.get(&format!("{V}/sobjects/Account/{}", self.id(2))).await.1[0]["errorCode"],
            "ENTITY_IS_DELETED"
        );
        self.deleted_and_updated_have_windows().await;
        world
            .control("/records/undelete", json!({ "id": self.id(2) }))
            .await;
        assert_eq!(api.count("SELECT COUNT() FROM Contact").await, contacts);
    }

    /// The windows of the replication calls are by the server's clock.
    async fn deleted_and_updated_have_windows(&self) {
        let api = &self.api;
        let window = "start=2001-01-01T00:00:00Z&end=2100-01-01T00:00:00Z";
        let start = api.send(Method::GET, &format!("{V}/limits"), None).await;
        let server_now = start.headers()["date"].to_str().unwrap().to_owned();
        assert!(server_now.ends_with("GMT") && start.headers().contains_key("sforce-limit-info"));
        let (_, refused) = api.get(&format!("{V}/sobjects/Account/deleted?{window}")).await;
        assert_eq!(refused[0]["errorCode"], "INVALID_REPLICATION_DATE");
        let hour_ago = time::UtcDateTime::now() - time::Duration::hours(1);
        let (year, month, day) = (hour_ago.year(), u8::from(hour_ago.month()), hour_ago.day());
        let recent = format!(
            "start={year}-{month:02}-{day:02}T{:02}:00:00%2B00:00&end=2100-01-01T00:00:00Z",
            hour_ago.hour()
        );
        let (_, deleted) = api.get(&format!("{V}/sobjects/Account/deleted?{recent}")).await;
        assert_eq!(deleted["deletedRecords"][0]["id"], json!(self.id(2)));
        let (_, updated) = api.get(&format!("{V}/sobjects/Account/updated?{recent}")).await;
        assert_eq!(updated["ids"], json!([self.id(0)]));
    }

    async fn merges_move_the_contacts(&self) {
        let (world, api) = (self.world, &self.api);
        let moved = self.contacts_of(&[self.id(3), self.id(4)]).await;
        world
            .control(
                "/records/merge",
                json!({ "winner": self.id(3), "loser": self.id(4) }),
            )
            .await;
        assert_eq!(self.contacts_of(&[self.id(3)]).await, moved);
        let loser = api
            .try_query(
                "queryAll",
                &format!(
                    "SELECT IsDeleted, MasterRecordId FROM Account WHERE Id = '{}'",
                    self.id(4)
                ),
            )
            .await
            .1;
        assert_eq!(loser["records"][0]["MasterRecordId"], json!(self.id(3)));
    }

    async fn purged_rows_are_gone(&self) {
        let (world, api) = (self.world, &self.api);
        world.control("/records/purge", json!({ "id": self.id(5) })).await;
        assert_eq!(
            api.try_query(
                "queryAll",
                &format!("SELECT Id FROM Account WHERE Id = '{}'", self.id(5))
            )
            .await
            .1["totalSize"],
            0
        );
    }

    async fn new_rows_are_read(&self) {
        let (world, api) = (self.world, &self.api);
        let before = self.contacts_of(&[self.id(3)]).await;
        let new = world
            .control(
                "/records/create",
                json!({ "object": "Contact", "fields": { "LastName": "New", "AccountId": self.id(3) } }),
            )
            .await;
        assert_eq!(self.contacts_of(&[self.id(3)]).await, before + 1);
        assert!(
            api.get(&format!("{V}/sobjects/Contact/{}", new["id"].as_str().unwrap()))
                .await
                .1["Name"]
                == "New"
        );
    }
}

#[tokio::test]
async fn fields_come_and_go() {
    let world = World::start(20, 0).await;
    let api = world.as_user(ADMIN).await;
    let describe = format!("{V}/sobjects/Account/describe");
    let first = api.send(Method::GET, &describe, None).await;
    let modified = first.headers()["last-modified"].to_str().unwrap().to_owned();
    let conditional = || {
        world
            .http
            .get(format!("{}{describe}", world.sim.http))
            .bearer_auth(&api.token)
            .header("If-Modified-Since", &modified)
            .send()
    };
    assert_eq!(conditional().await.unwrap().status(), 304);
    world
        .control(
            "/fields/add",
            json!({ "object": "Account", "field": "Fresh__c", "type": "picklist", "values": ["a", "b=Bee"] }),
        )
        .await;
    assert_eq!(conditional().await.unwrap().status(), 200);
    let filled = api
        .count("SELECT COUNT() FROM Account WHERE Fresh__c IN ('a','b')")
        .await;
    assert!(filled > 0);
    world
        .control(
            "/fields/rename",
            json!({ "object": "Account", "field": "Fresh__c", "to": "Stale__c" }),
        )
        .await;
    assert_eq!(
        api.count("SELECT COUNT() FROM Account WHERE Stale__c IN ('a','b')")
            .await,
        filled
    );
    world
        .control(
            "/fields/hide",
            json!({ "object": "Account", "field": "Stale__c", "user": RESTRICTED }),
        )
        .await;
    let other = world.as_user(RESTRICTED).await;
    let (_, refused) = other.try_query("query", "SELECT Id, Stale__c FROM Account").await;
    assert_eq!(
        refused[0]["message"],
        "\nSELECT Id, Stale__c FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Stale__c' on entity \
         'Account'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. \
         Please reference your WSDL or the describe call for the appropriate names."
    );
    world
        .control(
            "/fields/remove",
            json!({ "object": "Account", "field": "Stale__c" }),
        )
        .await;
    assert_eq!(
        api.try_query("query", "SELECT Stale__c FROM Account").await.0,
        400
    );
}
