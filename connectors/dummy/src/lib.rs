//! A connector to a CRM that exists in memory only. It uses every feature of the contract and, on request, shows
//! every kind of misbehaviour, for the tests of the host and of the server. See [`script`].

mod auth;
mod crm;
mod data;
mod fields;
mod passes;
mod read;
pub mod script;

use std::sync::atomic::{AtomicU32, Ordering};

use tether_connector_sdk::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, Connection, CountRecordsRequest,
    CountRecordsResponse, DescribeResponse, ExchangeCodeRequest, FetchCompanyRequest, FetchCompanyResponse,
    ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn, ObjectCount, ObjectResult,
    ObjectSelection, OpenRequest, ReadRequest, Record, RefreshRequest, RefreshResponse, RevokeRequest,
    RevokeResponse,
};
use tether_connector_sdk::{CallContext, Connector, Error, Host, ReadStream, export_connector};

use crate::crm::Crm;
use crate::data::{Object, World};
use crate::script::{Script, Settings};

/// The connector.
pub struct Dummy {
    host: Host,
    settings: Settings,
    crm: Crm,
}

export_connector!(Dummy);

impl Connector for Dummy {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let settings = Settings::new(request.settings);
        if let Some(action) = Script::of(&settings, "open")?.at_once() {
            action.run_blocking()?;
        }
        tracing::info!(
            companies = settings.text("companies"),
            "the dummy connector is open"
        );
        if settings.is_mutant("leaks") {
            // Threads and memory that are never released.
            std::thread::spawn(|| {
                loop {
                    std::thread::park()
                }
            });
            leak();
        }
        let crm = Crm::new(&host, &settings)?;
        Ok(Self { host, settings, crm })
    }

    fn describe(&self) -> DescribeResponse {
        fields::describe(&self.settings)
    }

    async fn begin_authorization(
        &self,
        call: CallContext,
        request: BeginAuthorizationRequest,
    ) -> Result<BeginAuthorizationResponse, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "begin_authorization")?.run(&call).await?;
        auth::begin(&settings, &request)
    }

    async fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "exchange_code")?.run(&call).await?;
        auth::exchange(&self.crm, &settings, &call, &request, self.host.now_us()).await
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "log_in")?.run(&call).await?;
        auth::log_in(&self.crm, &settings, &call, &request, self.host.now_us()).await
    }

    async fn refresh(&self, call: CallContext, request: RefreshRequest) -> Result<RefreshResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "refresh")?.run(&call).await?;
        auth::refresh(&self.crm, &settings, &call, &connection, self.host.now_us()).await
    }

    async fn revoke(&self, call: CallContext, request: RevokeRequest) -> Result<RevokeResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "revoke")?.run(&call).await?;
        let token = connection.credentials.unwrap_or_default().refresh_token;
        let already_gone = self.crm.revoke(&settings, &call, &token).await?.unwrap_or(false);
        Ok(RevokeResponse { already_gone })
    }

    async fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> Result<ListFieldsResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "list_fields")?.run(&call).await?;
        self.check(&settings, &call, &connection).await?;
        let objects = fields::list(&settings, &request.objects);
        Ok(ListFieldsResponse {
            objects,
            api_usage: Some(call.usage()),
        })
    }

    async fn count_records(
        &self,
        call: CallContext,
        request: CountRecordsRequest,
    ) -> Result<CountRecordsResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "count_records")?.run(&call).await?;
        self.check(&settings, &call, &connection).await?;
        let world = World::new(&settings);
        let wrong = u64::from(settings.is_mutant("wrong-counts"));
        let visible = |key: &&String| !fields::is_missing(&settings, key.as_str(), None);
        let counts = request.objects.iter().filter(visible).filter_map(|key| {
            let object = Object::from_key(key)?;
            Some(ObjectCount {
                object: key.clone(),
                count: world.count(object) + wrong,
                exact: true,
            })
        });
        Ok(CountRecordsResponse {
            counts: counts.collect(),
            api_usage: Some(call.usage()),
        })
    }

    async fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> Result<FetchCompanyResponse, Error> {
        let connection = request.connection.clone().unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "fetch_company")?.run(&call).await?;
        self.check(&settings, &call, &connection).await?;
        let world = World::new(&settings);
        let objects = request.selection.iter().map(|selection| {
            let visible = !fields::is_missing(&settings, &selection.object, None);
            match Object::from_key(&selection.object).filter(|_| visible) {
                Some(object) => fetched(&world, &settings, &request, object, selection),
                None => Ok(ObjectResult {
                    object: selection.object.clone(),
                    error: Some(
                        Error::object_gone(format!("{} is not visible", selection.object))
                            .object(selection.object.clone()),
                    ),
                    ..ObjectResult::default()
                }),
            }
        });
        Ok(FetchCompanyResponse {
            objects: objects.collect::<Result<_, Error>>()?,
            api_usage: Some(call.usage()),
            // This CRM does not report the time.
            read_time_us: 0,
        })
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        let settings = self
            .settings
            .with(&request.connection.clone().unwrap_or_default().settings)?;
        if settings.is_mutant("leaks") {
            leak();
        }
        let _alone = self.alone(&settings)?;
        read::read(&self.crm, &settings, &call, request, out).await
    }
}

impl Dummy {
    /// Whether the CRM accepts the connection.
    async fn check(
        &self,
        settings: &Settings,
        call: &CallContext,
        connection: &Connection,
    ) -> Result<(), Error> {
        auth::check(settings, connection)?;
        let token = connection.credentials.clone().unwrap_or_default().access_token;
        let base_url = &connection.base_url;
        self.crm.ask(settings, call, base_url, &token, "anything").await
    }

    /// The mutant that permits one stream at a time.
    fn alone(&self, settings: &Settings) -> Result<Option<Alone>, Error> {
        if !settings.is_mutant("one-stream-only") {
            return Ok(None);
        }
        if STREAMS.fetch_add(1, Ordering::AcqRel) > 0 {
            STREAMS.fetch_sub(1, Ordering::AcqRel);
            return Err(Error::transient("another stream is open"));
        }
        Ok(Some(Alone))
    }
}

/// The records of an object that belong to the requested companies.
fn fetched(
    world: &World,
    settings: &Settings,
    request: &FetchCompanyRequest,
    object: Object,
    selection: &ObjectSelection,
) -> Result<ObjectResult, Error> {
    let mut rows = data::Rows::new(world, settings, object, &selection.fields);
    let mut records = Vec::new();
    for id in &request.external_ids {
        let Some(number) = data::company_number(id) else {
            continue;
        };
        if settings.is_mutant("absent-company-fails") && number > world.companies() {
            return Err(Error::record_gone("there is no such company"));
        }
        let before = records.len();
        rows.of_company(number, &mut records);
        if object == Object::Company && records.len() == before {
            records.push(Record {
                external_id: data::company_id(number),
                deleted: true,
                ..Record::default()
            });
        }
    }
    if settings.is_mutant("fetch-differs") {
        records
            .iter_mut()
            .for_each(|record| record.display_name.push('!'));
    }
    let limit = match (object, request.related_limit) {
        (Object::Company, _) => usize::MAX,
        (_, 0) => 200,
        (_, limit) => limit as usize,
    };
    let more = !settings.is_mutant("never-sets-more") && records.len() > limit;
    records.truncate(limit);
    Ok(ObjectResult {
        object: selection.object.clone(),
        records,
        more,
        error: None,
        missing_fields: rows.missing().to_vec(),
    })
}

static STREAMS: AtomicU32 = AtomicU32::new(0);

struct Alone;

impl Drop for Alone {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::AcqRel);
    }
}

fn leak() {
    Box::leak(vec![1_u8; 512 * 1024].into_boxed_slice());
}
