//! `ScheduleKeyDeletion`: deletes a key after a waiting period.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::domain::kms::{Deletion, KeyAction, KeyState, UnixMillis};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

/// AWS KMS Developer Guide, Deleting AWS KMS keys.
const WINDOW_DAYS: RangeInclusive<u16> = 7..=30;
pub(in crate::kms) const WINDOW_DAYS_DEFAULT: u16 = 30;

pub(super) struct ScheduleKeyDeletion;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    pending_window_in_days: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    /// Absent while replicas are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<UnixMillis>,
    key_state: KeyState,
    pending_window_in_days: u16,
}

pub(in crate::kms) fn condition(window_days: u16) -> (Cow<'static, str>, Cow<'static, str>) {
    ("kms:ScheduleKeyDeletionPendingWindowInDays".into(), window_days.to_string().into())
}

impl<'b> Operation<'b> for ScheduleKeyDeletion {
    type Request = Request<'b>;
    type Response = Response;

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<Response, Error> {
        let window_days = request.pending_window_in_days.unwrap_or(WINDOW_DAYS_DEFAULT);
        let usage = Use { conditions: &[condition(window_days)], ..Use::default() };
        let key = call.open(KeyAction::ScheduleKeyDeletion, &request.key_id, usage).await?;
        if !WINDOW_DAYS.contains(&window_days) {
            return Err(Error::validation("PendingWindowInDays must be between 7 and 30 (inclusive)."));
        }
        key.note_backing_key().await;
        let waiting = Deletion { due: None, window_days };
        let (state, deletion) = if !key.key().is_replica() && key.related().await?.has_replicas() {
            (KeyState::PendingReplicaDeletion, waiting)
        } else {
            (KeyState::PendingDeletion, waiting.begun_at(call.now()))
        };
        let next = key
            .replace(|key| {
                key.state = state;
                key.deletion = Some(deletion);
            })
            .await?;
        call.due_work_changed();
        Ok(Response {
            key_id: key.arn().to_owned(),
            deletion_date: deletion.due,
            key_state: next.state,
            pending_window_in_days: window_days,
        })
    }
}
