//! The JSON of describeGlobal and describe, with every key of a recorded one.

use serde_json::{Value as Json, json};

use super::{Child, Field, Hidden, Object, Schema};

/// `GET /sobjects`: the objects the user may see.
pub(crate) fn global(schema: &Schema, hidden: &Hidden, version: &str) -> Json {
    let visible = schema.objects.iter().filter(|o| !hidden.object(o));
    let sobjects: Vec<Json> = visible.map(|o| summary(o, version)).collect();
    json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects })
}

/// The keys that describeGlobal and the head of a describe share.
pub(crate) fn summary(object: &Object, version: &str) -> Json {
    let base = format!("/services/data/v{version}/sobjects/{}", object.name);
    let business = object.business;
    let mut urls = json!({
        "rowTemplate": format!("{base}/{{ID}}"),
        "describe": format!("{base}/describe"),
        "sobject": base,
    });
    if business {
        for name in ["compactLayouts", "approvalLayouts", "layouts"] {
            urls[name] = format!("{base}/describe/{name}").into();
        }
        urls["listviews"] = format!("{base}/listviews").into();
        urls["quickActions"] = format!("{base}/quickActions").into();
    }
    json!({
        "activateable": false,
        "associateEntityType": null,
        "associateParentEntity": null,
        "createable": business,
        "custom": false,
        "customSetting": false,
        "deepCloneable": false,
        "deletable": business,
        "deprecatedAndHidden": false,
        "feedEnabled": business,
        "hasSubtypes": false,
        "isInterface": false,
        "isSubtype": false,
        "keyPrefix": object.prefix,
        "label": object.name,
        "labelPlural": object.label_plural,
        "layoutable": business,
        "mergeable": matches!(object.name, "Account" | "Contact" | "Case"),
        "mruEnabled": business,
        "name": object.name,
        "queryable": true,
        "replicateable": business || object.name == "User",
        "retrieveable": true,
        "searchable": business || object.name == "User",
        "triggerable": business,
        "undeletable": business,
        "updateable": business,
        "urls": urls,
    })
}

/// `GET /sobjects/{object}/describe` for one user.
pub(crate) fn object(
    schema: &Schema,
    object: &Object,
    hidden: &Hidden,
    version: &str,
    instance: &str,
) -> Json {
    let mut describe = summary(object, version);
    let base = format!("/services/data/v{version}/sobjects/{}", object.name);
    let urls = &mut describe["urls"];
    urls["defaultValues"] = format!("{base}/defaultValues?recordTypeId&fields").into();
    urls["uiDetailTemplate"] = format!("{instance}/{{ID}}").into();
    urls["uiEditTemplate"] = format!("{instance}/{{ID}}/e").into();
    urls["uiNewRecord"] = format!("{instance}/{}/e", object.prefix).into();
    let fields: Vec<Json> = object
        .fields
        .iter()
        .filter(|f| !hidden.field(object, f))
        .map(field)
        .collect();
    let children: Vec<Json> = object
        .children()
        .iter()
        .filter(|c| {
            schema.find(c.object).is_some_and(|(_, o)| {
                !hidden.object(o) && o.field(c.field).is_some_and(|f| !hidden.field(o, f))
            })
        })
        .map(child)
        .collect();
    let more = json!({
        "actionOverrides": [],
        "childRelationships": children,
        "compactLayoutable": object.business,
        "defaultImplementation": null,
        "extendedBy": null,
        "extendsInterfaces": null,
        "fields": fields,
        "implementedBy": null,
        "implementsInterfaces": null,
        "listviewable": null,
        "lookupLayoutable": null,
        "namedLayoutInfos": [],
        "networkScopeFieldName": null,
        "recordTypeInfos": record_types(object, &base),
        "searchLayoutable": object.business,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": scopes(object),
    });
    if let (Json::Object(all), Json::Object(more)) = (&mut describe, more) {
        all.remove("associateEntityType");
        all.remove("associateParentEntity");
        all.extend(more);
    }
    describe
}

fn scopes(object: &Object) -> Json {
    let plural = object.label_plural.to_lowercase();
    json!([
        { "label": format!("All {plural}"), "name": "everything" },
        { "label": format!("My {plural}"), "name": "mine" },
    ])
}

fn record_types(object: &Object, base: &str) -> Json {
    let info = |id: &str, name: &str, default: bool| {
        json!({
            "active": true, "available": true, "defaultRecordTypeMapping": default,
            "developerName": name, "master": name == "Master", "name": name, "recordTypeId": id,
            "urls": { "layout": format!("{base}/describe/layouts/{id}") },
        })
    };
    let master = info("012000000000000AAA", "Master", object.name != "Account");
    match object.name {
        "Account" => {
            json!([
                info(&crate::ids::text("012", 0), "Business", true),
                info(&crate::ids::text("012", 1), "Partner", false),
                master
            ])
        }
        _ if object.business => json!([master]),
        _ => json!([]),
    }
}

fn child(child: &Child) -> Json {
    json!({
        "cascadeDelete": child.cascade,
        "childSObject": child.object,
        "deprecatedAndHidden": false,
        "field": child.field,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": child.name,
        "restrictedDelete": child.restricted,
    })
}

fn field(f: &Field) -> Json {
    let picks: Vec<Json> = f
        .picks
        .iter()
        .map(|p| {
            json!({
                "active": p.active, "defaultValue": p.default, "label": p.label,
                "validFor": null, "value": p.value,
            })
        })
        .collect();
    let polymorphic = f.refers_to.len() > 1;
    json!({
        "aggregatable": f.aggregatable,
        "aiPredictionField": false,
        "autoNumber": f.auto_number,
        "byteLength": if matches!(f.kind, "id" | "reference") { f.length } else { f.length * 3 },
        "calculated": f.formula.is_some(),
        "calculatedFormula": f.formula,
        "cascadeDelete": false,
        "caseSensitive": f.case_sensitive,
        "compoundFieldName": f.compound,
        "controllerName": null,
        "createable": f.createable,
        "custom": f.custom(),
        "defaultValue": default_value(f),
        "defaultValueFormula": null,
        "defaultedOnCreate": f.defaulted,
        "dependentPicklist": false,
        "deprecatedAndHidden": false,
        "digits": if f.kind == "int" { 8 } else { 0 },
        "displayLocationInDecimal": f.kind == "location",
        "encrypted": f.kind == "encryptedstring",
        "externalId": f.external,
        "extraTypeInfo": f.extra,
        "filterable": f.filterable,
        "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "groupable": f.groupable,
        "highScaleNumber": false,
        "htmlFormatted": f.html,
        "idLookup": f.id_lookup,
        "inlineHelpText": null,
        "label": f.label,
        "length": f.length,
        "mask": f.mask.map(|m| m.0),
        "maskType": f.mask.map(|m| m.1),
        "name": f.name,
        "nameField": f.name_field,
        "namePointing": polymorphic,
        "nillable": f.nillable,
        "permissionable": f.permissionable,
        "picklistValues": picks,
        "polymorphicForeignKey": polymorphic,
        "precision": f.precision,
        "queryByDistance": matches!(f.kind, "address" | "location"),
        "referenceTargetField": null,
        "referenceTo": f.refers_to,
        "relationshipName": f.relationship,
        "relationshipOrder": null,
        "restrictedDelete": false,
        "restrictedPicklist": f.restricted,
        "scale": f.scale,
        "searchPrefilterable": f.prefilterable,
        "soapType": soap_type(f.kind),
        "sortable": f.sortable,
        "type": f.kind,
        "unique": f.unique,
        "updateable": f.updateable,
        "writeRequiresMasterRead": false,
    })
}

fn default_value(f: &Field) -> Json {
    match (f.kind, f.default) {
        ("boolean", default) => (default == Some("true")).into(),
        (_, Some(default)) => default.into(),
        _ => f
            .picks
            .iter()
            .find(|p| p.default)
            .map_or(Json::Null, |p| p.value.into()),
    }
}

fn soap_type(kind: &str) -> &'static str {
    match kind {
        "id" | "reference" => "tns:ID",
        "boolean" => "xsd:boolean",
        "int" => "xsd:int",
        "long" => "xsd:long",
        "double" | "currency" | "percent" => "xsd:double",
        "date" => "xsd:date",
        "datetime" => "xsd:dateTime",
        "time" => "xsd:time",
        "address" => "urn:address",
        "location" => "urn:location",
        _ => "xsd:string",
    }
}
