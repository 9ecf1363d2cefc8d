//! On a real terminal: widths, colours, the prompt, the progress line.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

use forebay_wire::JobState;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    fake::{Fake, TOKEN, job},
    run::{User, eventually},
};

/// A terminal of 80 cells, with a command on it.
struct Screen {
    child: Child,
    keys: File,
    /// The command's side; held so that what it did to the terminal can be seen.
    side: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn run(user: &User, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let side = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("text"))
            .expect("opened");
        let cells = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&side, cells).expect("sized");
        let end = || Stdio::from(side.try_clone().expect("cloned"));
        let mut command = user.command(arguments);
        let child = command
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("started");
        drop(command);
        let keys = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, seen) = (keys.try_clone().expect("cloned"), shown.clone());
        // Ends when the last holder of the terminal's other side has gone.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                seen.lock().expect("no panic").extend(&piece[..length]);
            }
        });
        Self {
            child,
            keys,
            side,
            shown,
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).replace("\r\n", "\n")
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        eventually(text, || self.shown().contains(text));
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("pressed");
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.side)
            .expect("a terminal")
            .local_modes
            .contains(LocalModes::ECHO)
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("waited for").code();
        // All that was written is there once the terminal says so.
        let mut last = usize::MAX;
        eventually("the output to settle", || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            let now = self.shown().len();
            std::mem::replace(&mut last, now) == now
        });
        (code, self.shown())
    }
}

#[test]
fn a_token_is_not_shown() {
    let fake = Fake::start();
    let user = User::new();
    let mut screen = Screen::run(&user, &["login", "--url", &fake.url()]);
    screen.wait_for("Token for");
    assert!(!screen.echoes());
    screen.press(format!("fb_x\x15{TOKEN}\r").as_bytes());
    screen.wait_for("Signed in");
    assert!(screen.echoes(), "the terminal is as before");
    let (code, shown) = screen.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("fb_"), "{shown}");
    user.run(&["whoami"]).ok();
}

#[test]
fn giving_up_at_the_prompt_leaves_the_terminal_as_it_was() {
    let fake = Fake::start();
    let user = User::new();
    let mut screen = Screen::run(&user, &["login", "--url", &fake.url()]);
    screen.wait_for("Token for");
    screen.press(b"fb_\x03");
    eventually("it echoes again", || screen.echoes());
    let (code, _) = screen.end();
    assert_eq!(code, Some(130));
    assert!(!user.path(".config").exists());
}

#[test]
fn a_table_fits_and_is_coloured() {
    let fake = Fake::start();
    let names = [
        "short",
        "a name that is much too long for the line",
        "evil\u{1b}[2J\u{9b}31m",
    ];
    fake.state().jobs = (1..)
        .zip(names)
        .map(|(number, name)| job(number, name, JobState::Failed))
        .collect();
    let user = User::of(&fake);
    let (code, shown) = Screen::run(&user, &["jobs"]).end();
    assert_eq!(code, Some(0));
    assert!(shown.contains("\u{1b}[31mfailed\u{1b}[0m"), "{shown:?}");
    let bare = ["\u{1b}[31m", "\u{1b}[0m", "\u{1b}[2m"]
        .iter()
        .fold(shown, |text, code| text.replace(code, ""));
    assert!(!bare.contains(['\u{1b}', '\u{9b}']), "{bare:?}");
    assert!(
        bare.lines().all(|line| line.chars().count() <= 80),
        "{bare}"
    );
    let user = User::of(&fake).with("NO_COLOR", "1");
    let (_, shown) = Screen::run(&user, &["jobs"]).end();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn waiting_shows_where_the_job_is() {
    let fake = Fake::start();
    let user = User::of(&fake);
    let screen = Screen::run(&user, &["submit", "--wait", "--", "true"]);
    screen.wait_for("queued");
    {
        let mut state = fake.state();
        state.jobs[0].job.status = crate::fake::status(JobState::Pending);
        state.jobs[0].job.status.reason = Some("Waits for free nodes.\u{1b}[2J".to_owned());
    }
    // The reason has no event: it is looked up now and then.
    screen.wait_for("pending: Waits for free nodes.\\x1b[2J");
    let pid = rustix::process::Pid::from_child(&screen.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let (code, shown) = screen.end();
    assert_eq!(code, Some(130));
    assert!(shown.contains("goes on without us"), "{shown:?}");
    assert!(shown.ends_with('\n'), "no progress line is left: {shown:?}");
}
