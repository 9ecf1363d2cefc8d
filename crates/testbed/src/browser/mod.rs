//! A real browser, driven as a person would: it is shown pages, clicked and typed into. Whatever it
//! complains of (scripts that fail, what the page's policy forbids, answers that are errors) is
//! collected, for tests to say that there is nothing.

mod pipe;

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::dirs::Dir;
use crate::packages;
use pipe::Pipe;

/// How often a page is looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// What can go wrong with a browser.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none here.
    #[error("there is no Chromium here")]
    Missing,
    /// No directory for its profile.
    #[error("cannot make a directory for the browser")]
    Place(#[source] std::io::Error),
    /// It could not be started.
    #[error("cannot start the browser")]
    Start(#[source] std::io::Error),
    /// It ended.
    #[error("the browser has ended")]
    Gone,
    /// It did not answer.
    #[error("the browser does not answer {0}")]
    Slow(String),
    /// It refused something, or a script in the page failed.
    #[error("the browser says: {0}")]
    Said(String),
    /// What was waited for did not come.
    #[error("not in {seconds} s: {script}; the page shows:\n{shown}")]
    Waited {
        /// What should have become true.
        script: String,
        /// For how long.
        seconds: u64,
        /// The page's text.
        shown: String,
    },
    /// A picture could not be written.
    #[error("cannot write a picture")]
    Picture(#[source] std::io::Error),
}

/// One browser with one page; ended when dropped, or when this process ends.
#[derive(Debug)]
pub struct Browser {
    pipe: Pipe,
    session: String,
    events: Vec<Value>,
    complaints: Vec<String>,
    // Last: the profile goes after its browser.
    _dir: Dir,
}

impl Browser {
    /// Starts one with an empty page.
    pub async fn start() -> Result<Self, Error> {
        let program = packages::browser().ok_or(Error::Missing)?;
        let dir = Dir::new("browser").map_err(Error::Place)?;
        let mut pipe = Pipe::start(&program, dir.path())?;
        let mut events = Vec::new();
        let made = json!({"url": "about:blank"});
        let made = pipe.call(None, "Target.createTarget", made, &mut events);
        let target = made.await?["targetId"].take();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = pipe.call(None, "Target.attachToTarget", attach, &mut events);
        let session = attached.await?["sessionId"].as_str().map(str::to_owned);
        let mut browser = Self {
            pipe,
            session: session.ok_or(Error::Gone)?,
            events,
            complaints: Vec::new(),
            _dir: dir,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Error> {
        let session = Some(self.session.as_str());
        let called = self
            .pipe
            .call(session, method, params, &mut self.events)
            .await;
        for event in self.events.drain(..) {
            self.complaints.extend(complaint(&event));
        }
        called
    }

    /// Shows a page; returns when it has loaded.
    pub async fn open(&mut self, url: &str) -> Result<(), Error> {
        let went = self.call("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = went["errorText"].as_str() {
            return Err(Error::Said(format!("{url}: {error}")));
        }
        self.wait("document.readyState === 'complete'", 30)
            .await
            .map(drop)
    }

    /// What a script in the page says, which may be a promise.
    pub async fn eval(&mut self, script: &str) -> Result<Value, Error> {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut said = self.call("Runtime.evaluate", params).await?;
        match said.get("exceptionDetails") {
            Some(details) => Err(Error::Said(format!("{script}: {}", thrown(details)))),
            None => Ok(said["result"]["value"].take()),
        }
    }

    /// Waits until a script says something that is not false, null or empty.
    pub async fn wait(&mut self, script: &str, seconds: u64) -> Result<Value, Error> {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.eval(script).await {
                Ok(Value::Null | Value::Bool(false)) => {}
                Ok(Value::String(text)) if text.is_empty() => {}
                Ok(value) => return Ok(value),
                // The page is being changed for another one.
                Err(Error::Said(_)) if Instant::now() < until => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                let shown = self.eval("document.body.innerText.slice(0, 3000)").await;
                return Err(Error::Waited {
                    script: script.to_owned(),
                    seconds,
                    shown: shown.map_or_else(
                        |error| error.to_string(),
                        |shown| shown.as_str().unwrap_or_default().to_owned(),
                    ),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Clicks on the first thing that the selector finds, once it is there and can be clicked.
    pub async fn click(&mut self, selector: &str) -> Result<(), Error> {
        let quoted = Value::from(selector);
        let script = format!(
            "(() => {{ const e = document.querySelector({quoted}); if (!e || e.disabled) return null;
               e.scrollIntoView({{block: 'center', behavior: 'instant'}});
               const r = e.getBoundingClientRect(); const x = r.x + r.width / 2, y = r.y + r.height / 2;
               const at = document.elementFromPoint(x, y);
               return at && (e === at || e.contains(at)) ? [x, y] : null; }})()"
        );
        let place = self.wait(&script, 20).await?;
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", params).await?;
        }
        Ok(())
    }

    /// Puts text into a field in place of what is there.
    pub async fn fill(&mut self, selector: &str, text: &str) -> Result<(), Error> {
        let quoted = Value::from(selector);
        let script = format!(
            "(() => {{ const e = document.querySelector({quoted}); if (!e) return false;
               e.focus(); e.select(); return document.activeElement === e; }})()"
        );
        self.wait(&script, 20).await?;
        if text.is_empty() {
            return self.press("Backspace").await;
        }
        self.call("Input.insertText", json!({"text": text}))
            .await
            .map(drop)
    }

    /// Presses a key by its name: `Enter`, `Tab`, `ArrowRight`, `Backspace`, `Escape`.
    pub async fn press(&mut self, key: &str) -> Result<(), Error> {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Backspace" => (8, ""),
            "Escape" => (27, ""),
            "ArrowLeft" => (37, ""),
            "ArrowRight" => (39, ""),
            _ => return Err(Error::Said(format!("no key is called {key} here"))),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params).await?;
        }
        Ok(())
    }

    /// The window's size in CSS pixels; below 500 wide it is a phone's.
    pub async fn size(&mut self, width: u32, height: u32) -> Result<(), Error> {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", params)
            .await
            .map(drop)
    }

    /// What the system prefers: `light` or `dark`.
    pub async fn scheme(&mut self, scheme: &str) -> Result<(), Error> {
        let params = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", params)
            .await
            .map(drop)
    }

    /// A picture of what is seen, as PNG.
    pub async fn picture(&mut self, path: &Path) -> Result<(), Error> {
        let taken = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await?;
        let text = taken["data"].as_str().unwrap_or_default();
        let engine = base64::engine::general_purpose::STANDARD;
        let bytes = engine
            .decode(text)
            .map_err(|error| Error::Said(error.to_string()))?;
        std::fs::write(path, bytes).map_err(Error::Picture)
    }

    /// The cookies that the browser has for the page, with all their attributes.
    pub async fn cookies(&mut self) -> Result<Vec<Value>, Error> {
        let mut said = self.call("Network.getCookies", json!({})).await?;
        match said["cookies"].take() {
            Value::Array(cookies) => Ok(cookies),
            _ => Ok(Vec::new()),
        }
    }

    /// What the browser has complained of since this was asked last.
    pub async fn complaints(&mut self) -> Result<Vec<String>, Error> {
        // What it has not told yet comes with the next answer.
        self.eval("0").await?;
        Ok(std::mem::take(&mut self.complaints))
    }

    /// Ends it in order.
    pub async fn close(self) {
        self.pipe.close().await;
    }
}

/// What an event complains of, if it does.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(thrown(&params["exceptionDetails"])),
        "Runtime.consoleAPICalled"
            if matches!(
                params["type"].as_str(),
                Some("error" | "assert" | "warning")
            ) =>
        {
            let said = params["args"].as_array().into_iter().flatten();
            let said: Vec<_> = said
                .map(|arg| {
                    arg.get("value")
                        .or(arg.get("description"))
                        .unwrap_or(arg)
                        .to_string()
                })
                .collect();
            Some(format!("console: {}", said.join(" ")))
        }
        "Log.entryAdded"
            if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) =>
        {
            let entry = &params["entry"];
            Some(format!(
                "{}: {} {}",
                text(&entry["source"]),
                text(&entry["text"]),
                text(&entry["url"])
            ))
        }
        _ => None,
    }
}

fn thrown(details: &Value) -> String {
    let said = &details["exception"]["description"];
    said.as_str()
        .or(details["text"].as_str())
        .unwrap_or("an exception")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clicks_types_waits_and_complains() {
        crate::need!(Chromium);
        let mut browser = Browser::start().await.unwrap();
        let page = "data:text/html,<meta name=viewport content=width=device-width><title>t</title><input id=i value=old><button id=b \
                    onclick=\"document.title = i.value; console.error('no', 5); nothing()\">b</button>";
        browser.open(page).await.unwrap();
        browser.fill("#i", "new é").await.unwrap();
        browser.click("#b").await.unwrap();
        browser
            .wait("document.title === 'new é'", 10)
            .await
            .unwrap();
        let complaints = browser.complaints().await.unwrap();
        assert!(
            complaints.contains(&"console: \"no\" 5".to_owned()),
            "{complaints:?}"
        );
        assert!(
            complaints
                .iter()
                .any(|said| said.contains("nothing is not defined")),
            "{complaints:?}"
        );
        assert!(browser.complaints().await.unwrap().is_empty());
        assert_eq!(
            browser.eval("Promise.resolve([1, 'a'])").await.unwrap(),
            json!([1, "a"])
        );
        assert!(
            matches!(browser.eval("throw new Error('x')").await, Err(Error::Said(said)) if said.contains("Error: x"))
        );
        let late = browser.wait("document.title === 'never'", 1).await;
        assert!(matches!(late, Err(Error::Waited { .. })), "{late:?}");
        browser.size(360, 640).await.unwrap();
        assert_eq!(browser.eval("innerWidth").await.unwrap(), 360);
        browser.close().await;
    }
}
