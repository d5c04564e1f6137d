//! The jobs of Bulk, and damaged pages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Given, done, refuse};
use crate::app::App;
use crate::bulk::jobs::{Job, Jobs, State as Phase};
use crate::bulk::script::{Script, Settings};
use crate::damage::Damage;
use crate::ids;

/// Every job, deleted ones too.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer {
    let jobs = app.jobs.lock();
    let existing = jobs.list.iter().filter(|job| !job.gone);
    let unfinished = existing.clone().filter(|job| !job.state.finished());
    let listed = |job: &Job| {
        let org = &app.orgs[job.owner.org].read();
        json!({
            "id": job.id(),
            "org": org.name,
            "user": org.user(job.owner.user).map(|user| user.username.clone()),
            "object": job.object,
            "operation": if job.all { "queryAll" } else { "query" },
            "query": job.soql,
            "state": job.state.name(),
            "polls": job.polls,
            "rows": job.total(),
            "pagesRead": job.pages_read,
            "deleted": job.gone,
            "errorMessage": job.error,
        })
    };
    Ok(Json(json!({
        "created": jobs.list.len(),
        "existing": existing.count(),
        "unfinished": unfinished.count(),
        "settings": jobs.settings,
        "scripts": jobs.scripts,
        "jobs": jobs.list.iter().map(listed).collect::<Vec<_>>(),
    })))
}

/// Changes the given settings; `{}` only shows them. `reset: true` restores the defaults before.
pub(crate) async fn settings(
    State(app): State<Arc<App>>,
    Given(mut changes): Given<Map<String, Value>>,
) -> Answer {
    let mut jobs = app.jobs.lock();
    let before = if changes.remove("reset") == Some(true.into()) {
        Settings::default()
    } else {
        jobs.settings.clone()
    };
    if let Some(used) = changes.remove("usedJobs").and_then(|used| used.as_u64()) {
        jobs.used.insert(0, used);
    }
    let Ok(Value::Object(mut all)) = serde_json::to_value(&before) else {
        return refuse("the settings cannot be shown");
    };
    all.extend(changes);
    match serde_json::from_value::<Settings>(Value::Object(all)) {
        Ok(settings) => jobs.settings = settings,
        Err(error) => return refuse(error.to_string()),
    }
    Ok(Json(json!(jobs.settings)))
}

/// Orders the course of a later job.
pub(crate) async fn script(State(app): State<Arc<App>>, Given(script): Given<Script>) -> Answer {
    let mut jobs = app.jobs.lock();
    jobs.scripts.push(script);
    Ok(Json(json!({ "ordered": jobs.scripts.len() })))
}

pub(crate) async fn clear_scripts(State(app): State<Arc<App>>) -> Answer {
    app.jobs.lock().scripts.clear();
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Which {
    /// One job; all by default.
    id: Option<String>,
    state: Option<Phase>,
    error_message: Option<String>,
}

impl Which {
    fn each(&self, jobs: &mut Jobs, mut act: impl FnMut(&mut Job) -> bool) -> Answer {
        let number = self.id.as_deref().map(|id| ids::decode("750", id));
        if number == Some(None) {
            return refuse("that is not the id of a job");
        }
        let wanted = jobs
            .list
            .iter_mut()
            .filter(|job| number.is_none_or(|number| number == Some(job.number)));
        let changed = wanted.filter_map(|job| act(job).then_some(())).count();
        Ok(Json(json!({ "changed": changed })))
    }
}

/// Ends unfinished jobs as an administrator or a failure does.
pub(crate) async fn end(State(app): State<Arc<App>>, Given(which): Given<Which>) -> Answer {
    let state = which.state.unwrap_or(Phase::Aborted);
    if !matches!(state, Phase::Aborted | Phase::Failed) {
        return refuse("the state is Aborted or Failed");
    }
    let now = app.now();
    which.each(&mut app.jobs.lock(), |job| {
        let open = !job.state.finished();
        if open {
            (job.state, job.stamp) = (state, now);
            job.error.clone_from(&which.error_message);
        }
        open
    })
}

/// Removes jobs, as after seven days.
pub(crate) async fn expire(State(app): State<Arc<App>>, Given(which): Given<Which>) -> Answer {
    which.each(&mut app.jobs.lock(), |job| {
        !std::mem::replace(&mut job.gone, true)
    })
}

/// Invalidates the locators of jobs; new ones work.
pub(crate) async fn drop_locators(State(app): State<Arc<App>>, Given(which): Given<Which>) -> Answer {
    which.each(&mut app.jobs.lock(), |job| {
        job.epoch += 1;
        true
    })
}

/// Orders the damage of a later page.
pub(crate) async fn damage(State(app): State<Arc<App>>, Given(mut order): Given<Damage>) -> Answer {
    order.number = app.named_org(order.org.as_deref())?.read().number as usize;
    let mut orders = app.damage.lock();
    orders.push(order);
    Ok(Json(json!({ "ordered": orders.len() })))
}

pub(crate) async fn damages(State(app): State<Arc<App>>) -> Answer {
    Ok(Json(json!({ "pages": *app.damage.lock() })))
}

pub(crate) async fn clear_damages(State(app): State<Arc<App>>) -> Answer {
    app.damage.lock().clear();
    done()
}
