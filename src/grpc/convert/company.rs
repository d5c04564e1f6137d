//! Companies and their profiles.

use super::value::{duration, field_type, value};
use super::{of_reason, timestamp};
use crate::domain::IntegrationId;
use crate::error::{Most, shortened};
use crate::grpc::page::field_bytes;
use crate::identity::Homepage;
use crate::proto::v1;
use crate::service::Source;
use crate::service::{
    Card, Cell, CompanyView, IndexState, Position, RelatedRecord, SourceObject, SourceView, Table,
};
use prost::Message as _;

/// The maximum length of a homepage, in bytes; a longer one is left out.
const MOST_URI_BYTES: usize = 2_048;
/// The maximum number of sources of a company.
const MOST_SOURCES: usize = 100;
/// The maximum size of the fields of a source, in bytes.
const MOST_FIELD_BYTES: usize = 512 << 10;
/// The maximum length of a column's label, in characters.
const MOST_LABEL: usize = 200;

/// A company.
pub fn company(view: &CompanyView) -> v1::Company {
    let homepage = view
        .company
        .homepage
        .as_deref()
        .filter(|uri| uri.len() <= MOST_URI_BYTES);
    let homepage = homepage.and_then(Homepage::read);
    let (domain, homepage_uri) = homepage.map_or_else(Default::default, |homepage| {
        (homepage.domain.unwrap_or_default(), homepage.uri)
    });
    v1::Company {
        name: view.company.company_id.name(),
        display_name: view.company.name.clone(),
        domain,
        homepage_uri,
        platform_id: view.company.platform_id.clone(),
        tracked: view.company.tracked,
        sources: view.sources.iter().take(MOST_SOURCES).map(source).collect(),
        source_count: i32::try_from(view.sources.len()).unwrap_or(i32::MAX),
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

/// The position of a source's index.
pub fn source_position(id: IntegrationId, position: Position) -> v1::SourcePosition {
    v1::SourcePosition {
        integration: id.name(),
        change_number: position.change_no,
        time: (position.time_us != 0).then(|| timestamp(position.time_us)),
    }
}

/// A source, with its active fields if they are shown.
pub fn source_view(of: SourceView, show_fields: bool) -> v1::Source {
    let index_state = match of.index {
        IndexState::Ready => v1::source::IndexState::Ready,
        IndexState::Building => v1::source::IndexState::Building,
        IndexState::Unreadable => v1::source::IndexState::Unreadable,
    };
    let mut left = MOST_FIELD_BYTES;
    let objects = of.objects.iter().map(|object| v1::SourceObject {
        object: object.object.clone(),
        label: object.label.clone(),
        role: object.role as i32,
        field_count: i32::try_from(object.fields.len()).unwrap_or(i32::MAX),
        active_field_count: i32::try_from(object.active_fields()).unwrap_or(i32::MAX),
        fields: match show_fields {
            true => fields(&of.row.label, object, &mut left),
            false => Vec::new(),
        },
    });
    let integration = &of.row.integration;
    v1::Source {
        objects: objects.collect(),
        integration: integration.id.name(),
        label: of.row.label.clone(),
        display_name: integration.display_name.clone(),
        connector: format!("connectors/{}", integration.connector),
        relation: super::integration::relation(of.row.relation) as i32,
        group_display_name: of.group.clone(),
        company_count: of.companies,
        active_field_count: i32::try_from(of.active_fields()).unwrap_or(i32::MAX),
        as_of: Some(source_position(integration.id, of.position)),
        index_state: index_state as i32,
        state: super::integration::state(of.state) as i32,
        sync_time: integration.last_success_us.map(timestamp),
    }
}

/// The active fields of an object, as far as they fit into the bytes that are left.
fn fields(label: &str, object: &SourceObject, left: &mut usize) -> Vec<v1::Field> {
    let mut shown = Vec::new();
    for one in object.fields.iter().filter(|field| field.active) {
        let mut field = super::integration::field(label, one, 0);
        if field.encoded_len() > *left
            && let Some(definition) = &mut field.definition
        {
            definition.picklist_values.clear();
        }
        let bytes = field_bytes(field.encoded_len());
        if bytes > *left {
            break;
        }
        *left -= bytes;
        shown.push(field);
    }
    shown
}

fn source(of: &Source) -> v1::SourceReference {
    v1::SourceReference {
        integration: of.integration.id.name(),
        label: of.label.clone(),
        display_name: of.integration.display_name.clone(),
    }
}

/// A card without its tables.
pub fn card(of: &Card) -> v1::Card {
    let freshness = &of.freshness;
    v1::Card {
        source: Some(source(&of.source)),
        connector: format!("connectors/{}", of.source.integration.connector),
        connector_display_name: of.connector.clone(),
        relation: super::integration::relation(of.source.relation) as i32,
        group_display_name: of.group.clone(),
        freshness: Some(v1::Freshness {
            read_time: Some(timestamp(freshness.read_us)),
            age: Some(duration(crate::time::now_us() - freshness.read_us)),
            live: freshness.live,
            stale_reason: freshness.stale.as_ref().map(|(reason, message)| v1::Cause {
                reason: of_reason(*reason) as i32,
                message: shortened(message, Most::Characters(super::MOST_CAUSE)).into_owned(),
                time: None,
                retry_time: None,
            }),
        }),
        company_records: None,
        related: Vec::new(),
        position: Some(v1::SourcePosition {
            integration: of.source.integration.id.name(),
            change_number: of.change_no,
            time: None,
        }),
    }
}

/// A table of a card without its records.
pub fn table(of: &Table) -> v1::RecordTable {
    v1::RecordTable {
        object: of.object.clone(),
        label: of.label.clone(),
        role: of.role as i32,
        columns: of
            .columns
            .iter()
            .map(|column| v1::RecordColumn {
                key: column.key.clone(),
                label: shortened(&column.label, Most::Characters(MOST_LABEL)).into_owned(),
                r#type: field_type(column.field_type) as i32,
                active: column.active,
                missing: column.missing,
            })
            .collect(),
        records: Vec::new(),
        total_size: of.total,
        more: false,
    }
}

/// A record of a card.
pub fn record(of: RelatedRecord) -> v1::CardRecord {
    v1::CardRecord {
        external_id: of.external_id,
        display_name: of.name,
        values: of.values.into_iter().map(value).collect(),
        modify_time: (of.modified_us != 0).then(|| timestamp(of.modified_us)),
        parent_external_ids: Vec::new(),
    }
}
