//! `ListKeyRotations`: the rotations that a key has had, the oldest first.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{
    ExpirationModel, Key, KeyAction, KeyMaterialState, Material, MaterialId, RotationType, UnixMillis,
};
use crate::gate::kms::{Call, OpenKey, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;
use crate::kms::page::{Page, PageLimits, PageRequest};

const PAGE_LIMITS: PageLimits = PageLimits { usual: 100, max: 1000 };

pub(super) struct ListKeyRotations;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    #[serde(borrow, default)]
    include_key_material: Option<Cow<'b, str>>,
    limit: Option<usize>,
    #[serde(borrow, default)]
    marker: Option<Cow<'b, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    rotations: Vec<RotationsListEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl<'b> Operation<'b> for ListKeyRotations {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let key = call.open(KeyAction::ListKeyRotations, &request.key_id, Use::default()).await?;
        let all = request.include_key_material.as_deref() == Some("ALL_KEY_MATERIAL");
        let which = if all { "all" } else { "rotations" };
        let page = Page::new(
            call,
            &["ListKeyRotations", key.arn(), which],
            PageRequest { limit: request.limit, limits: PAGE_LIMITS, marker: request.marker },
        );
        let after = page.after(|index| index.parse::<usize>().ok())?;
        let materials =
            (1..).zip(&key.key().materials).filter(|(_, material)| all || material.rotation.is_some());
        let materials: Vec<_> = materials
            .skip_while(|(index, _)| after.is_some_and(|after| *index <= after))
            .take(page.fetch())
            .collect();
        let (materials, next_marker) = page.cut(materials, |(index, _)| index.to_string());
        let waiting = waiting_for_replicas(&key).await?;
        let entry = |(_, material): (usize, &Material)| {
            let entry = RotationsListEntry::of(key.key(), material);
            if waiting != Some(material.id) {
                return entry;
            }
            let state = Some(KeyMaterialState::PendingMultiRegionImportAndRotation);
            RotationsListEntry { key_material_state: state, ..entry }
        };
        let rotations = materials.into_iter().map(entry).collect();
        Ok(Response { rotations, truncated: next_marker.is_some(), next_marker })
    }
}

/// New material that a rotation cannot bring into use before it is imported into every related key.
async fn waiting_for_replicas(key: &OpenKey<'_>) -> Result<Option<MaterialId>, Error> {
    let Some(pending) = key.key().pending_material().map(|material| material.id) else { return Ok(None) };
    let related = key.related().await?;
    Ok(related.lacking(&pending).map(|_| pending))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RotationsListEntry {
    key_id: String,
    key_material_id: String,
    key_material_state: Option<KeyMaterialState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_model: Option<ExpirationModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_date: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_type: Option<RotationType>,
}

impl RotationsListEntry {
    fn of(key: &Key, material: &Material) -> Self {
        let import = material.import.as_ref();
        let import_state = if material.is_absent() { "PENDING_IMPORT" } else { "IMPORTED" };
        Self {
            key_id: key.id.to_string(),
            key_material_id: material.id.to_string(),
            key_material_state: key.material_state(&material.id),
            key_material_description: import.and_then(|import| import.description.clone()),
            import_state: import.map(|_| import_state),
            expiration_model: material.expiration_model(),
            valid_to: import.and_then(|import| import.valid_to),
            rotation_date: material.rotation.map(|_| material.created),
            rotation_type: material.rotation,
        }
    }
}
