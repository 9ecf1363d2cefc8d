//! What the document says of requests: fields that are not in it are refused.
//!
//! The same types are part of answers, of which the document must not say so: a newer server adds
//! fields. So a request's parts are described apart, as `JobSpecRequest` beside `JobSpec`.

use std::collections::BTreeMap;

use utoipa::{
    Modify,
    openapi::{
        OpenApi, Ref, RefOr, Schema,
        schema::{AdditionalProperties, ArrayItems, Object},
    },
};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Closes what request bodies are made of.
pub(super) struct ClosedRequests;

impl Modify for ClosedRequests {
    fn modify(&self, document: &mut OpenApi) {
        let bodies: Vec<String> = document
            .paths
            .paths
            .values()
            .flat_map(|path| [&path.put, &path.post, &path.patch])
            .filter_map(
                |operation| match operation.as_ref()?.request_body.as_ref()? {
                    RefOr::T(body) => Some(body.content.values()),
                    RefOr::Ref(_) => None,
                },
            )
            .flatten()
            .filter_map(|content| match content {
                RefOr::T(content) => content.schema.as_ref(),
                RefOr::Ref(_) => None,
            })
            .filter_map(name)
            .collect();
        let schemas = &mut document.components.get_or_insert_default().schemas;
        let mut closed = Schemas::new();
        for body in bodies {
            // A body is part of no answer: closed where it stands.
            if let Some(schema) = schemas.get(&body) {
                let schema = close(schema, schemas, &mut closed);
                closed.insert(body, schema);
            }
        }
        schemas.append(&mut closed);
    }
}

/// The schema, closed, with what it refers to; that is put into `closed` under its new name.
fn close(schema: &RefOr<Schema>, all: &Schemas, closed: &mut Schemas) -> RefOr<Schema> {
    let schema = match schema {
        RefOr::Ref(reference) => return refer(reference, all, closed),
        RefOr::T(schema) => schema,
    };
    let mut schema = schema.clone();
    let mut each = |items: &mut Vec<RefOr<Schema>>| {
        for item in items {
            *item = close(item, all, closed);
        }
    };
    match &mut schema {
        Schema::Object(object) => {
            for property in object.properties.values_mut() {
                *property = close(property, all, closed);
            }
            if has_fields(object) {
                let none = AdditionalProperties::FreeForm(false);
                object.additional_properties = Some(Box::new(none));
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(item) = &mut array.items {
                **item = close(item, all, closed);
            }
        }
        Schema::OneOf(one) => each(&mut one.items),
        Schema::AnyOf(any) => each(&mut any.items),
        Schema::AllOf(all) => each(&mut all.items),
        // None that utoipa makes of our types; left open, it says less than is so.
        _ => {}
    }
    RefOr::T(schema)
}

fn refer(reference: &Ref, all: &Schemas, closed: &mut Schemas) -> RefOr<Schema> {
    let unchanged = || RefOr::Ref(reference.clone());
    let Some((name, schema)) =
        name(&RefOr::Ref(reference.clone())).and_then(|name| all.get_key_value(&name))
    else {
        return unchanged();
    };
    // Names, numbers and the like are the same in both.
    if !matches!(schema, RefOr::T(Schema::Object(object)) if has_fields(object)) {
        return unchanged();
    }
    let copy = format!("{name}Request");
    if !closed.contains_key(&copy) {
        let schema = close(schema, all, closed);
        closed.insert(copy.clone(), schema);
    }
    let mut reference = reference.clone();
    reference.ref_location = Ref::from_schema_name(copy).ref_location;
    RefOr::Ref(reference)
}

fn has_fields(object: &Object) -> bool {
    !object.properties.is_empty()
}

fn name(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference
            .ref_location
            .strip_prefix("#/components/schemas/")
            .map(str::to_owned),
        RefOr::T(_) => None,
    }
}
