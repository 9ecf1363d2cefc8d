//! The page, as people use it: in a real browser, over a real installation.

use std::path::PathBuf;

use forebay_testbed::browser::Browser;
use forebay_testbed::{need, programs};
use forebay_wire::JobState;
use serde_json::Value;

use crate::worlds::World;

/// For what takes a second on an idle machine.
const PATIENCE_S: u64 = 60;
/// Pictures of what was seen are put there, for people to look at.
const PICTURES: &str = "FOREBAY_PICTURES";

/// Somebody at the page.
struct Person<'w> {
    browser: Browser,
    world: &'w World,
    /// Complaints that are meant: what the browser says of answers that are refusals.
    meant: Vec<&'static str>,
}

impl<'w> Person<'w> {
    async fn at(world: &'w World, path: &str) -> Self {
        let mut browser = Browser::start().await.unwrap();
        browser.size(1280, 860).await.unwrap();
        let url = format!("{}{path}", world.site.api_url());
        browser.open(&url).await.unwrap();
        Self {
            browser,
            world,
            meant: Vec::new(),
        }
    }

    async fn sign_in(&mut self, number: usize) {
        let token = self
            .world
            .site
            .token(&self.world.user(number).name)
            .unwrap();
        self.browser.fill("#token", &token).await.unwrap();
        self.browser.press("Enter").await.unwrap();
        self.sees(".me").await;
    }

    /// Something is there.
    async fn sees(&mut self, selector: &str) {
        let script = format!("document.querySelector({}) !== null", Value::from(selector));
        self.until(&script).await;
    }

    /// The text of something contains this.
    async fn reads(&mut self, selector: &str, text: &str) {
        let (selector, text) = (Value::from(selector), Value::from(text));
        self.until(&format!(
            "(document.querySelector({selector})?.innerText ?? '').includes({text})"
        ))
        .await;
    }

    async fn until(&mut self, script: &str) {
        let seen = self.browser.wait(script, PATIENCE_S).await;
        if let Err(error) = seen {
            panic!("{error}\n{:?}", self.browser.complaints().await);
        }
    }

    /// Goes to a page as its links do, without loading anything anew.
    async fn goes(&mut self, path: &str) {
        let script = format!(
            "(() => {{ const a = document.createElement('a'); a.href = {}; document.body.append(a); a.click(); a.remove(); }})()",
            Value::from(path)
        );
        self.browser.eval(&script).await.unwrap();
    }

    async fn fill(&mut self, selector: &str, text: &str) {
        self.browser.fill(selector, text).await.unwrap();
    }

    async fn click(&mut self, selector: &str) {
        if let Err(error) = self.browser.click(selector).await {
            panic!("{error}\n{:?}", self.browser.complaints().await);
        }
    }

    /// Hands a script in by the form; answers the job's id.
    async fn submit(&mut self, name: &str, script: &str) -> String {
        self.click("nav a[href='/submit']").await;
        self.fill("#script", &format!("#!/bin/sh\n{script}\n"))
            .await;
        self.fill("#name", name).await;
        self.click("button[type=submit]").await;
        self.until("location.pathname.startsWith('/jobs/j')").await;
        let path = self.browser.eval("location.pathname").await.unwrap();
        self.reads("h1", name).await;
        path.as_str().unwrap().replace("/jobs/", "")
    }

    /// A picture for people, where they want some.
    async fn picture(&mut self, name: &str) {
        let Some(dir) = std::env::var_os(PICTURES) else {
            return;
        };
        let path = PathBuf::from(dir).join(format!("{name}.png"));
        self.browser.picture(&path).await.unwrap();
    }

    /// Nothing was complained of that was not meant. Above all nothing that the page's own policy
    /// forbids: it would be missing.
    async fn has_no_complaints(&mut self) {
        let complaints = self.browser.complaints().await.unwrap();
        let other: Vec<_> = complaints
            .iter()
            .filter(|said| !self.meant.iter().any(|meant| said.contains(meant)))
            .collect();
        assert!(other.is_empty(), "{other:#?}");
    }

    async fn leaves(mut self) {
        self.has_no_complaints().await;
        self.browser.close().await;
    }
}

/// A script that goes on when its owner says so.
fn gated(gate: &str) -> String {
    format!(
        "echo begun as $(id -un)\nwhile ! test -e {gate}; do sleep 0.1; done\necho 'ended: é 日本'\necho trouble >&2\nexit 3"
    )
}

async fn a_job_is_followed(world: &World, with_pictures: bool) {
    let mut ann = Person::at(world, "/").await;
    ann.sign_in(1).await;
    ann.reads(".clusters", "hpc").await;
    // Nothing that scripts could read; and not in the address.
    let cookies = ann.browser.cookies().await.unwrap();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(cookies[0]["httpOnly"], true);
    assert_eq!(cookies[0]["sameSite"], "Strict");
    let kept = ann.browser.eval("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + location.href");
    let kept = kept.await.unwrap().to_string();
    assert!(!kept.contains("fb_") && !kept.contains("fp_"), "{kept}");

    // From here on nothing is loaded anew: this would be gone.
    ann.browser.eval("window.here = true").await.unwrap();
    let gate = world.witness(1);
    let id = ann.submit("followed", &gated(&gate.path())).await;
    ann.reads(".title .badge", "Running").await;
    ann.reads(".log-box", &format!("begun as {}", world.user(1).name))
        .await;
    ann.reads("[data-log]", "live").await;
    if with_pictures {
        ann.picture("job-running").await;
    }
    std::fs::write(gate.path(), "").unwrap();
    ann.reads(".log-box", "ended: é 日本").await;
    ann.reads(".title .badge", "Failed").await;
    ann.reads("[data-exit]", "exit code 3").await;
    ann.reads("[data-log]", "complete").await;
    ann.click("#tab-stderr").await;
    ann.reads(".log-box", "trouble").await;
    // Each step once, in its order.
    ann.until("document.querySelectorAll('.timeline li[data-seq]').length >= 4")
        .await;
    ann.reads(".timeline li:last-child", "Failed").await;
    let steps = ann
        .browser
        .eval("[...document.querySelectorAll('.timeline li')].map(e => Number(e.dataset.seq))");
    let steps: Vec<u64> = serde_json::from_value(steps.await.unwrap()).unwrap();
    let expected: Vec<u64> = (1..=steps.len() as u64).collect();
    assert_eq!(steps, expected);
    let told = world.api(1).states(&id).await;
    assert_eq!(told.last(), Some(&JobState::Failed));
    if with_pictures {
        ann.picture("job-ended").await;
    }

    // The list changes by itself, too.
    ann.click("nav a[href='/']").await;
    ann.reads(&format!("[data-job='{id}'] .badge"), "Failed")
        .await;
    let other = world.api(1).script("sleep 60").await;
    ann.reads(&format!("[data-job='{other}'] .badge"), "Running")
        .await;
    if with_pictures {
        ann.picture("jobs").await;
    }
    ann.click(&format!("[data-job='{other}'] a")).await;
    ann.click(".danger").await;
    ann.sees("dialog[open]").await;
    if with_pictures {
        ann.picture("cancel").await;
    }
    ann.click("dialog .danger").await;
    ann.reads(".title .badge", "Cancelled").await;
    assert_eq!(ann.browser.eval("window.here").await.unwrap(), true);

    // Filters are in the address, and a reload shows the same.
    ann.goes("/?state=cancelled&name=&sort=name").await;
    ann.until(&format!("document.querySelectorAll('[data-job]').length > 0 && !document.querySelector(\"[data-job='{id}']\")")).await;
    ann.browser.eval("location.reload()").await.unwrap();
    ann.sees(&format!("[data-job='{other}']")).await;
    assert_eq!(
        ann.browser.eval("window.here ?? null").await.unwrap(),
        Value::Null
    );
    ann.sees(".chip[aria-pressed='true']").await;
    ann.fill("input[type=search]", "no such name").await;
    ann.reads(".empty", "No job fits").await;
    ann.until("location.search.includes('name=no+such+name')")
        .await;
    ann.leaves().await;
}

#[tokio::test]
async fn a_job_of_slurm_is_followed_to_its_end() {
    need!(Slurm, Postgres, Chromium, Page);
    a_job_is_followed(World::plain().await, true).await;
}

#[tokio::test]
async fn a_job_of_this_host_is_followed_to_its_end() {
    need!(Postgres, Chromium, Page);
    a_job_is_followed(World::local().await, false).await;
}

#[tokio::test]
async fn others_jobs_wrong_tokens_and_signing_out() {
    need!(Root, Postgres, Chromium, Page);
    let world = World::local().await;
    let anns = world.api(1).script("echo secret of ann").await;
    let mut bob = Person::at(world, &format!("/jobs/{anns}")).await;
    bob.sees("#token").await;
    bob.picture("sign-in").await;
    bob.fill("#token", "fb_wrong").await;
    bob.browser.press("Enter").await.unwrap();
    bob.reads("[role=alert]", "unknown, expired or revoked")
        .await;
    bob.meant.push("401 (Unauthorized)");
    bob.picture("sign-in-wrong").await;
    bob.sign_in(2).await;
    // Where he wanted to go, and where there is nothing for him.
    bob.reads("main", "There is no such job, or it is not yours.")
        .await;
    bob.meant.push("404 (Not Found)");
    bob.picture("not-found").await;
    let text = bob.browser.eval("document.body.innerText").await.unwrap();
    assert!(!text.to_string().contains("secret"), "{text}");
    bob.goes("/").await;
    bob.sees(".empty, table.jobs").await;
    bob.until(&format!("!document.querySelector(\"[data-job='{anns}']\")"))
        .await;
    bob.goes("/no/such/page").await;
    bob.reads("main", "This page was not found").await;
    bob.click(".who button").await;
    bob.reads(".sign-in", "You have signed out.").await;
    // The session is gone at the server, too, and so is its cookie.
    assert_eq!(bob.browser.cookies().await.unwrap(), Vec::<Value>::new());
    bob.browser.eval("history.back()").await.unwrap();
    bob.sees("#token").await;
    bob.leaves().await;
}

#[tokio::test]
async fn what_is_refused_is_said_at_its_field() {
    need!(Postgres, Chromium, Page);
    let world = World::local().await;
    let mut ann = Person::at(world, "/submit").await;
    ann.sign_in(1).await;
    ann.sees("#script").await;
    ann.picture("submit").await;
    ann.fill("#time", "soon").await;
    ann.fill("#memory", "much").await;
    ann.click("button[type=submit]").await;
    ann.reads("#time-wrong", "30m, 2h").await;
    // The first of them has the focus.
    ann.until("document.activeElement.id === 'time'").await;
    ann.fill("#time", "10m").await;
    ann.fill("#memory", "").await;
    // This the server alone knows.
    ann.fill("#name", &"x".repeat(250)).await;
    ann.click("summary").await;
    ann.fill("#environment", "SBATCH_WAIT=1").await;
    ann.click("button[type=submit]").await;
    ann.reads("#name-wrong", "at most 200").await;
    ann.sees("#environment-wrong").await;
    ann.meant.push("422 (Unprocessable");
    ann.picture("submit-refused").await;
    let before = world.api(1).jobs("&name=by-keyboard").await.len();
    ann.fill("#name", "by-keyboard").await;
    ann.fill("#environment", "GREETING=hello").await;
    ann.fill("#script", "#!/bin/sh\necho $GREETING\n").await;
    // By keyboard alone, and twice: it is one job.
    ann.browser
        .eval("(() => { const b = document.querySelector('button[type=submit]'); b.focus(); b.click(); b.click(); })()")
        .await
        .unwrap();
    ann.reads(".log-box", "hello").await;
    ann.reads(".title .badge", "Succeeded").await;
    assert_eq!(
        world.api(1).jobs("&name=by-keyboard").await.len(),
        before + 1
    );
    // The same once more, with everything as it was.
    ann.click("a[href^='/submit?from=']").await;
    ann.until("document.querySelector('#environment')?.value === 'GREETING=hello'")
        .await;
    ann.until("document.querySelector('#time').value === '10m'")
        .await;
    ann.leaves().await;
}

#[tokio::test]
async fn it_fits_on_a_phone_and_into_the_dark() {
    need!(Postgres, Chromium, Page);
    let world = World::local().await;
    let long = "a-name-without-any-place-to-break-it-".repeat(5);
    let api = world.api(1);
    let spec = serde_json::json!({
        "name": long,
        "script": format!("#!/bin/sh\nfor n in 1 2 3; do echo {}; done\n", "x".repeat(300)),
    });
    let id = api.submit(spec).await;
    api.ended(&id).await;
    let mut ann = Person::at(world, "/").await;
    ann.sign_in(1).await;
    for (scheme, width) in [("light", 360), ("dark", 1280), ("dark", 360)] {
        ann.browser.scheme(scheme).await.unwrap();
        ann.browser.size(width, 760).await.unwrap();
        for (name, path, there) in [
            ("jobs", "/".to_owned(), ".jobs [data-job]"),
            ("job", format!("/jobs/{id}"), ".timeline li"),
            ("submit", "/submit".to_owned(), "#script"),
            ("not-found", "/none".to_owned(), ".empty"),
        ] {
            ann.goes(&path).await;
            ann.sees(there).await;
            let wide = ann
                .browser
                .eval("[document.documentElement.scrollWidth, innerWidth]")
                .await
                .unwrap();
            assert!(
                wide[0].as_u64() <= wide[1].as_u64(),
                "{name} at {width}: {wide}"
            );
            ann.picture(&format!("{name}-{scheme}-{width}")).await;
        }
        // What cannot be told by its colour or place has a name.
        let unnamed = ann.browser.eval(
            "[...document.querySelectorAll('input, select, textarea, button')]
               .filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.innerText?.trim()))
               .map(e => e.outerHTML)",
        );
        assert_eq!(unnamed.await.unwrap(), serde_json::json!([]));
    }
    ann.leaves().await;
}

/// However much a job prints, the page holds a bounded part of it, says so, and shows the end.
#[tokio::test]
async fn a_large_output_is_bounded_and_marked() {
    need!(Postgres, Chromium, Page);
    let world = World::local().await;
    let print = "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99; echo";
    let before = world
        .api(1)
        .script(&format!("echo first; {print} last before"))
        .await;
    world.api(1).ended(&before).await;
    let mut ann = Person::at(world, &format!("/jobs/{before}")).await;
    ann.sign_in(1).await;
    let length = "document.querySelector('.log-box pre').textContent.length";
    // Its end only, at first.
    ann.reads(".log-box .skipped", "of earlier output is not shown")
        .await;
    ann.until("document.querySelector('.log-box pre').textContent.includes('last before')")
        .await;
    assert!(ann.browser.eval(length).await.unwrap().as_u64() < Some(600_000));
    ann.picture("job-large").await;
    // And what comes while somebody looks.
    let gate = world.witness(1);
    let script = format!(
        "echo first\nwhile ! test -e {}; do sleep 0.1; done\n{print} last after",
        gate.path()
    );
    ann.submit("large", &script).await;
    ann.reads(".log-box", "first").await;
    std::fs::write(gate.path(), "").unwrap();
    ann.until("document.querySelector('.log-box pre').textContent.includes('last after')")
        .await;
    ann.sees(".log-box .skipped").await;
    let held = ann.browser.eval(length).await.unwrap().as_u64();
    assert!(held < Some(1_200_000), "{held:?}");
    // Following, it stands at the end.
    ann.until("(b => b.scrollTop + b.clientHeight >= b.scrollHeight - 30)(document.querySelector('.log-box'))").await;
    // Whoever scrolls back is not torn away from there, and says themselves when to go on.
    ann.browser
        .eval(
            "(b => { b.dispatchEvent(new WheelEvent('wheel')); b.scrollTop = 0; })(document.querySelector('.log-box'))",
        )
        .await
        .unwrap();
    ann.until("!document.querySelector('.log-tools input').checked")
        .await;
    ann.click(".log-tools input").await;
    ann.until("(b => b.scrollTop + b.clientHeight >= b.scrollHeight - 30)(document.querySelector('.log-box'))").await;
    ann.leaves().await;
}

/// While the view-server is away the page says so, and goes on by itself when that is back.
#[tokio::test]
async fn it_catches_up_after_the_view_server_was_away() {
    need!(Postgres, Chromium, Page);
    let world = World::start(forebay_testbed::site::Scheduler::Local { slots: 2 }).await;
    let mut ann = Person::at(&world, "/").await;
    ann.sign_in(1).await;
    let gate = world.witness(1);
    ann.submit("patient", &gated(&gate.path())).await;
    ann.reads(".log-box", "begun").await;
    ann.browser.eval("window.here = true").await.unwrap();
    world.site.kill9("view-server").await.unwrap();
    ann.reads("[data-log]", "connecting").await;
    std::fs::write(gate.path(), "").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    world.site.start_view_server().await.unwrap();
    ann.reads(".log-box", "ended: é 日本").await;
    ann.reads(".title .badge", "Failed").await;
    ann.reads(".timeline li:last-child", "Failed").await;
    let text = ann
        .browser
        .eval("document.querySelector('.log-box pre').innerText")
        .await
        .unwrap();
    let text = text.as_str().unwrap();
    assert_eq!(text.matches("begun").count(), 1, "{text}");
    assert_eq!(text.matches("ended").count(), 1, "{text}");
    let steps = ann
        .browser
        .eval("[...document.querySelectorAll('.timeline li')].map(e => Number(e.dataset.seq))");
    let steps: Vec<u64> = serde_json::from_value(steps.await.unwrap()).unwrap();
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    assert_eq!(ann.browser.eval("window.here").await.unwrap(), true);
    ann.meant.extend([
        "ERR_CONNECTION_REFUSED",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "ERR_CONNECTION_RESET",
        "ERR_EMPTY_RESPONSE",
    ]);
    ann.leaves().await;
    world.site.stop().await.unwrap();
}

#[test]
fn the_page_is_found_where_it_is_built() {
    need!(Page);
    assert!(programs::page().unwrap().join("assets").is_dir());
}
