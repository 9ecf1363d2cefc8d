//! `POST /link/v1/enrol`: a site registers its key, by the token that an operator gave it.

use forebay_http::{Code, Problem, Request, Response, reply};
use forebay_wire::{hex, link::Enrol};

use super::calls::BODY_BYTES;
use crate::view::{View, actor, told};

pub(super) async fn enrol(view: View, mut request: Request) -> Result<Response, Problem> {
    let token = request.bearer().ok_or_else(|| {
        Problem::new(
            Code::Unauthenticated,
            "Send the token that `forebay-view-server site enrol` printed.",
        )
    })?;
    // A stranger's call is not audited: anybody could fill the table.
    let site = view.store().enrolment_site(&token).await.map_err(told)?;
    let actor = actor(format!("site:{site}"), &request);
    let enrol = async {
        let body: Enrol = request.json(BODY_BYTES).await?;
        let key = hex::decode(&body.public_key).and_then(|key| key.try_into().ok());
        let key = key.ok_or_else(|| {
            Problem::invalid(
                "public_key",
                "Must be an Ed25519 public key, 64 hexadecimal digits.",
            )
        })?;
        view.store().enrol(&token, &key, &actor).await.map_err(told)
    };
    let enrolled = view
        .audited(&actor, "site.enrolled", site.as_str(), enrol)
        .await?;
    tracing::info!(site = %enrolled.site, key = %enrolled.key, "a site enrolled");
    Ok(reply::created(&enrolled))
}
