//! Signing in on the page, and out.

use forebay_central::{Error, SESSION_MAX};
use forebay_http::{Code, Problem, Request, Response, reply};
use forebay_wire::api::{Me, SignIn, SignedIn};
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use secrecy::SecretString;

use crate::{
    page::{cookie, origin},
    view::{View, actor, told},
};

/// A token is a hundred characters.
const BODY_BYTES: usize = 4_096;
/// Who failed to sign in is nobody, in the audit.
const NOBODY: &str = "nobody";

/// Sign in on the page.
///
/// For browsers: the answer sets a cookie that scripts cannot read. Programs send their token with each call instead.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "page", operation_id = "sign_in", request_body = SignIn, security(()),
    responses(
        (status = 201, body = SignedIn, headers(("Set-Cookie" = String, description = "The session."))),
        (status = "default", body = Problem),
    ),
)]
pub(super) async fn open(view: View, mut request: Request) -> Result<Response, Problem> {
    let page = view.page();
    let secure = page.is_secure(request.headers());
    let body: SignIn = request.json(BODY_BYTES).await?;
    let token = SecretString::from(body.token);
    let actor = actor(NOBODY.into(), &request);
    let from = page.origin_of_call(&request);
    page.attempts().may(&from)?;
    let opened = async {
        // Nobody is to be signed in as somebody else by another page.
        origin::check(&request, secure)?;
        let opened = view
            .store()
            .session_open(&token, &actor.request_id, &actor.peer)
            .await;
        opened.map_err(|error| match error {
            Error::Unauthenticated => {
                page.attempts().failed(&from);
                Problem::new(
                    Code::Unauthenticated,
                    "This token is unknown, expired or revoked.",
                )
                .with_detail("token", "not a good token")
            }
            other => told(other),
        })
    };
    let opened = view.audited(&actor, "session.open", "", opened).await?;
    let mut response = reply::created(&SignedIn {
        me: Me {
            id: opened.caller.user,
            name: opened.caller.name,
        },
        expires_at: opened.expires_at,
    });
    let cookie = cookie::set(secure, &opened.secret, SESSION_MAX);
    response.headers_mut().insert(SET_COOKIE, cookie);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

/// Sign out: the session that the cookie names ends.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "page", operation_id = "sign_out", security(("session" = [])),
    responses((status = 204), (status = "default", body = Problem)),
)]
pub(super) async fn close(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.session(&request).await?;
    let actor = actor(format!("user:{}", caller.name), &request);
    let closed = view.store().session_close(&caller, &actor).await;
    closed.map_err(told)?;
    let mut response = reply::no_content();
    let cookie = cookie::clear(view.page().is_secure(request.headers()));
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}
