//! Companies and their profiles.

use super::value::{duration, field_type, value};
use super::{of_reason, timestamp};
use crate::domain::IntegrationId;
use crate::identity::Homepage;
use crate::proto::v1;
use crate::service::{Card, Cell, CompanyView, Position, Profile, SourceView, Table};
use crate::store::Source;

/// A company.
pub fn company(view: &CompanyView) -> v1::Company {
    let homepage = view.company.homepage.as_deref().and_then(Homepage::read);
    let (domain, homepage_uri) = homepage.map_or_else(Default::default, |homepage| {
        (homepage.domain.unwrap_or_default(), homepage.uri)
    });
    v1::Company {
        name: view.company.company_id.name(),
        display_name: view.company.name.clone(),
        domain,
        homepage_uri,
        platform_id: String::new(),
        tracked: view.company.tracked,
        sources: view.sources.iter().map(source).collect(),
        cells: Vec::new(),
    }
}

/// A company of a list, with its cells.
pub fn listed_company((view, cells): (CompanyView, Vec<Cell>)) -> v1::Company {
    let cell = |cell: Cell| v1::CompanyCell {
        values: cell.values.into_iter().map(|one| value(Some(one))).collect(),
        more: cell.more,
    };
    v1::Company {
        cells: cells.into_iter().map(cell).collect(),
        ..company(&view)
    }
}

/// How far the search over a source has come.
pub fn source_position(id: IntegrationId, position: Position) -> v1::SourcePosition {
    v1::SourcePosition {
        integration: id.name(),
        change_number: position.change_no,
        time: (position.time_us != 0).then(|| timestamp(position.time_us)),
    }
}

/// A source.
pub fn source_view(of: SourceView) -> v1::Source {
    v1::Source {
        integration: of.row.integration.id.name(),
        label: of.row.label,
        display_name: of.row.integration.display_name,
        connector: format!("connectors/{}", of.row.integration.connector),
        relation: super::integration::relation(of.row.relation) as i32,
        group_display_name: of.group,
        company_count: of.companies,
        active_field_count: i32::try_from(of.active_fields).unwrap_or(i32::MAX),
        as_of: Some(source_position(of.row.integration.id, of.position)),
    }
}

fn source(of: &Source) -> v1::SourceReference {
    v1::SourceReference {
        integration: of.integration.id.name(),
        label: of.label.clone(),
        display_name: of.integration.display_name.clone(),
    }
}

/// A profile.
pub fn profile(of: Profile) -> v1::CompanyProfile {
    v1::CompanyProfile {
        company: Some(company(&of.company)),
        cards: of.cards.into_iter().map(card).collect(),
    }
}

fn card(of: Card) -> v1::Card {
    let freshness = of.freshness;
    v1::Card {
        source: Some(source(&of.source)),
        connector: format!("connectors/{}", of.source.integration.connector),
        connector_display_name: of.connector,
        relation: super::integration::relation(of.source.relation) as i32,
        group_display_name: of.group,
        freshness: Some(v1::Freshness {
            read_time: Some(timestamp(freshness.read_us)),
            age: Some(duration(crate::time::now_us() - freshness.read_us)),
            live: freshness.live,
            stale_reason: freshness.stale.map(|(reason, message)| v1::Cause {
                reason: of_reason(reason) as i32,
                message,
                time: None,
                retry_time: None,
            }),
        }),
        company_records: Some(table(of.company)),
        related: of.related.into_iter().map(table).collect(),
    }
}

fn table(of: Table) -> v1::RecordTable {
    let more = of.total > of.records.len() as i64;
    v1::RecordTable {
        object: of.object,
        label: of.label,
        role: of.role as i32,
        columns: of
            .columns
            .into_iter()
            .map(|column| v1::RecordColumn {
                key: column.key,
                label: column.label,
                r#type: field_type(column.field_type) as i32,
                active: column.active,
                missing: column.missing,
            })
            .collect(),
        records: of
            .records
            .into_iter()
            .map(|record| v1::CardRecord {
                external_id: record.external_id,
                display_name: record.name,
                values: record.values.into_iter().map(value).collect(),
                modify_time: (record.modified_us != 0).then(|| timestamp(record.modified_us)),
                parent_external_ids: Vec::new(),
            })
            .collect(),
        total_size: of.total,
        more,
    }
}
