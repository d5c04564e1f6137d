//! `tether.v1.CompanyService`.

use super::companies::{columns, positions, scope, sources};
use super::page::{self, Page, field_bytes};
use super::page_token::{self, Pages};
use super::watch::Messages;
use super::{convert, export, gate, graph, profile, validate};
use crate::domain::CompanyId;
use crate::error::Error;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::proto::v1::company_service_server::CompanyService;
use crate::proto::v1::company_to_track::Company as Wanted;
use crate::proto::v1::get_company_profile_request::Refresh;
use crate::service::{self, CompanyAsk, RefreshPolicy, Services, ToName, ToTrack};
use prost::Message as _;
use std::time::Duration;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// How long a profile waits for the CRM if the caller gives no time.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait that a caller may request.
const MOST_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum size of the companies in the answer of TrackCompanies, in bytes; others are returned with
/// their names only. The names of a thousand companies fit into the rest of an answer.
const MOST_TRACKED_BYTES: usize = page::MOST_ANSWER_BYTES - (256 << 10);
/// The number of companies whose cells are read first, when their size is unknown.
const FIRST_COMPANIES: usize = 32;
/// The maximum number of companies whose cells are read at a time.
const MOST_COMPANIES: usize = 250;

/// The service.
pub struct Companies(pub Services);

fn span(field: &str, of: Option<prost_types::Duration>) -> Result<Option<Duration>, Error> {
    of.map(|of| Duration::try_from(of).map_err(|_| Error::invalid(field, "must not be negative")))
        .transpose()
}

#[tonic::async_trait]
impl CompanyService for Companies {
    async fn list_companies(
        &self,
        request: Request<v1::ListCompaniesRequest>,
    ) -> Answer<v1::ListCompaniesResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        validate::text("query", &request.query, validate::QUERY_LENGTH)?;
        let zone = validate::time_zone("time_zone", &request.time_zone)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 1_000)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(
            self.0.sealer(),
            "ListCompanies",
            caller.group.as_deref(),
            &request,
        );
        let ask = CompanyAsk {
            scope: scope(request.scope()),
            only: sources(&request.sources)?,
            query: request.query.clone(),
            filter: request.filter.clone(),
            order_by: request.order_by.clone(),
            zone,
            by_id: false,
            columns: columns(&request.columns)?,
            total: request.show_total_size,
            at_least: positions(&request.at_least)?,
            after: page_token::cursor(pages.after(&token)?)?,
            limit: size,
            now_us: crate::time::now_us(),
        };
        let walk = self.0.company_list(&caller, &parent, ask).await?;
        let as_of = walk.positions.iter();
        let as_of: Vec<_> = as_of
            .map(|(id, position)| convert::source_position(*id, *position))
            .collect();
        let bytes = as_of.iter().map(|one| field_bytes(one.encoded_len())).sum();
        let mut page = Page::beside(walk.len(), bytes);
        while page.len() < walk.len() && !page.is_full() {
            let from = page.len();
            // Reads about a third of the remaining bytes at a time.
            let average = page.bytes() / from.max(1) + 1;
            let count = match from {
                0 => FIRST_COMPANIES,
                _ => (page.left() / 3 / average).clamp(1, MOST_COMPANIES),
            };
            for company in walk.some(from..walk.len().min(from + count)).await? {
                if !page.push(convert::listed_company(company)) {
                    break;
                }
            }
        }
        Ok(Response::new(v1::ListCompaniesResponse {
            next_page_token: pages.next(walk.next(page.len()).map(page_token::of_cursor))?,
            total_size: walk.total,
            companies: page.into_items(),
            as_of,
        }))
    }

    async fn get_company(&self, request: Request<v1::GetCompanyRequest>) -> Answer<v1::Company> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::company("name", &request.name)?;
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        Ok(Response::new(convert::company(
            &self.0.company_get(&caller, &parent, id).await?,
        )))
    }

    async fn get_company_profile(
        &self,
        request: Request<v1::GetCompanyProfileRequest>,
    ) -> Answer<v1::CompanyProfile> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::company("name", &request.name)?;
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        let only = sources(&request.sources)?;
        let policy = match request.refresh() {
            Refresh::Unspecified | Refresh::Always => RefreshPolicy::Always,
            Refresh::IfOlderThan => {
                let age = span("max_age", request.max_age)?;
                RefreshPolicy::IfOlderThan(age.ok_or_else(|| Error::invalid("max_age", "is required"))?)
            }
            Refresh::Never => RefreshPolicy::Never,
        };
        let timeout = span("refresh_timeout", request.refresh_timeout)?
            .unwrap_or(TIMEOUT)
            .min(MOST_TIMEOUT);
        let related = validate::page_size(request.related_limit, 50, 200)?;
        let text_from = usize::try_from(request.text_offset)
            .map_err(|_| Error::invalid("text_offset", "must not be negative"))?;
        // These arguments may change between pages: other texts, or without a call to the CRM.
        let bound = v1::GetCompanyProfileRequest {
            refresh: 0,
            max_age: None,
            refresh_timeout: None,
            page_token: String::new(),
            text_offset: 0,
            ..request.clone()
        };
        let group = caller.group.as_deref();
        let pages = Pages::new(self.0.sealer(), "GetCompanyProfile", group, &bound);
        let ask = profile::Ask {
            id,
            parent,
            refresh: (policy, timeout),
            only,
            related,
            text_from,
            token: request.page_token,
        };
        let profile = profile::get(&self.0, &caller, ask, pages).await?;
        Ok(Response::new(profile))
    }

    async fn list_sources(
        &self,
        request: Request<v1::ListSourcesRequest>,
    ) -> Answer<v1::ListSourcesResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListSources", caller.group.as_deref(), &request);
        let after = page_token::text(pages.after(&token)?)?;
        let only = sources(&request.sources)?;
        let listed = self.0.source_list(&caller, &parent, &only, after, size).await?;
        let (sources, more) = page::fill(size, listed.sources, |source| {
            convert::source_view(source, request.show_fields)
        });
        let last = sources.last().filter(|_| more).map(|last| last.label.clone());
        let next = last.or(listed.next).map(|label| vec![Kind::Text(label)]);
        Ok(Response::new(v1::ListSourcesResponse {
            next_page_token: pages.next(next)?,
            sources,
        }))
    }

    async fn aggregate_companies(
        &self,
        request: Request<v1::AggregateCompaniesRequest>,
    ) -> Answer<v1::AggregateCompaniesResponse> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        Ok(Response::new(
            graph::get(&self.0, &caller, &parent, request).await?,
        ))
    }

    async fn batch_upsert_companies(
        &self,
        request: Request<v1::BatchUpsertCompaniesRequest>,
    ) -> Answer<v1::BatchUpsertCompaniesResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        validate::entries("companies", &request.companies, 1_000)?;
        let companies = request.companies.into_iter().enumerate().map(|(at, one)| {
            let path = |field: &str| format!("companies[{at}].{field}");
            validate::text(&path("homepage_uri"), &one.homepage_uri, validate::URL_LENGTH)?;
            Ok(ToName {
                platform_id: validate::platform_id(&path("platform_id"), &one.platform_id)?,
                name: validate::company_name(&path("display_name"), &one.display_name)?,
                homepage: one.homepage_uri,
            })
        });
        let companies = companies.collect::<Result<_, Error>>()?;
        let ids = self.0.company_upsert(&author, companies).await?;
        let names = ids.iter().map(CompanyId::name).collect();
        Ok(Response::new(v1::BatchUpsertCompaniesResponse { names }))
    }

    async fn track_companies(
        &self,
        request: Request<v1::TrackCompaniesRequest>,
    ) -> Answer<v1::TrackCompaniesResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        service::require_own_group(&author, &parent)?;
        validate::entries("companies", &request.companies, 1_000)?;
        let mut wanted = Vec::with_capacity(request.companies.len());
        for (at, one) in request.companies.into_iter().enumerate() {
            wanted.push(match one.company {
                Some(Wanted::Name(name)) => {
                    ToTrack::Known(validate::company(&format!("companies[{at}].name"), &name)?)
                }
                Some(Wanted::NewCompany(new)) => {
                    let path = format!("companies[{at}].new_company");
                    let name = validate::company_name(&format!("{path}.display_name"), &new.display_name)?;
                    validate::text(
                        &format!("{path}.homepage_uri"),
                        &new.homepage_uri,
                        validate::URL_LENGTH,
                    )?;
                    ToTrack::New {
                        name,
                        homepage: new.homepage_uri,
                    }
                }
                None => return Err(Error::invalid(format!("companies[{at}]"), "names no company").into()),
            });
        }
        let companies = self.0.company_track(&author, &parent, wanted).await?;
        // The change is made: companies that do not fit have only `name` set.
        let mut left = MOST_TRACKED_BYTES;
        let companies = companies.iter().map(|view| {
            let company = convert::company(view);
            let bytes = company.encoded_len();
            if bytes <= left {
                left -= bytes;
                return company;
            }
            left = 0;
            v1::Company {
                name: company.name,
                ..Default::default()
            }
        });
        let companies = companies.collect();
        Ok(Response::new(v1::TrackCompaniesResponse { companies }))
    }

    async fn untrack_companies(
        &self,
        request: Request<v1::UntrackCompaniesRequest>,
    ) -> Answer<v1::UntrackCompaniesResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        service::require_own_group(&author, &parent)?;
        validate::entries("names", &request.names, 1_000)?;
        let ids = request.names.iter().enumerate();
        let ids: Vec<CompanyId> = ids
            .map(|(at, name)| validate::company(&format!("names[{at}]"), name))
            .collect::<Result<_, _>>()?;
        let count = self.0.company_untrack(&author, &parent, ids).await?;
        let untracked_count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Response::new(v1::UntrackCompaniesResponse { untracked_count }))
    }

    type ExportCompaniesStream = Messages<v1::ExportCompaniesResponse>;

    async fn export_companies(
        &self,
        request: Request<v1::ExportCompaniesRequest>,
    ) -> Answer<Self::ExportCompaniesStream> {
        let caller = gate::caller(&request)?;
        let messages = export::stream(&self.0, caller, request.into_inner()).await?;
        Ok(Response::new(messages))
    }
}
