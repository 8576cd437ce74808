//! `EnableKeyRotation`: new key material every so many days.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::kms::{KeyAction, Rotation};
use crate::gate::kms::{Call, Use};
use crate::kms::error::Error;
use crate::kms::operations::Operation;

/// AWS KMS Developer Guide, Rotation period.
pub(in crate::kms) const PERIOD_DAYS_DEFAULT: u16 = 365;

pub(super) struct EnableKeyRotation;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    key_id: Cow<'b, str>,
    rotation_period_in_days: Option<u16>,
}

pub(in crate::kms) fn condition(period_days: u16) -> (Cow<'static, str>, Cow<'static, str>) {
    ("kms:RotationPeriodInDays".into(), period_days.to_string().into())
}

impl<'b> Operation<'b> for EnableKeyRotation {
    type Request = Request<'b>;
    type Response = ();

    async fn execute(call: &Call<'_>, request: Request<'b>) -> Result<(), Error> {
        let period_days = request.rotation_period_in_days.unwrap_or(PERIOD_DAYS_DEFAULT);
        let usage = Use { conditions: &[condition(period_days)], ..Use::default() };
        let key = call.open(KeyAction::EnableKeyRotation, &request.key_id, usage).await?;
        if key.key().rotation.is_some_and(|rotation| rotation.period_days == period_days) {
            return Ok(());
        }
        let rotation = Rotation { period_days, next: call.now().plus_days(period_days) };
        key.replace(|key| key.rotation = Some(rotation)).await?;
        call.due_work_changed();
        Ok(())
    }
}
