//! Who is asking.

use forebay_http::{Problem, Request, Response, reply};
use forebay_wire::api::Me;

use crate::view::View;

/// Who the token belongs to.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "me", operation_id = "me",
    responses((status = 200, body = Me), (status = "default", body = Problem)),
)]
pub(super) async fn me(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    Ok(reply::ok(&Me {
        id: caller.user,
        name: caller.name,
    }))
}
