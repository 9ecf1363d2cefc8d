//! Finding Postgres's server programs, which distributions keep out of `PATH` and install in several versions.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::MAJOR_MIN;
use super::error::Error;
use super::upgrade::Upgrade;

/// A directory with `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// The programs to use. With data of a certain major version only programs of that version will do; without, the
    /// first place that has any: `bin_dir` alone if given, else `PATH`, the distribution's newest, the usual places.
    pub(super) fn find(
        bin_dir: Option<&Path>,
        data: Option<(&Path, &str)>,
    ) -> Result<Binaries, Error> {
        let searched = match bin_dir {
            Some(dir) => vec![dir.to_owned()],
            None => places(std::env::var_os("PATH").as_deref(), Path::new("/")),
        };
        let found: Vec<Binaries> = searched.iter().filter_map(|dir| probe(dir)).collect();
        if found.is_empty() {
            let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
            let remedy = match bin_dir {
                Some(_) => "correct bin_dir, or leave it out to have them searched for".to_owned(),
                None => remedy(&release),
            };
            let searched = searched
                .iter()
                .map(|dir| dir.display().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Error::NoBinaries { searched, remedy });
        }
        choose(found, data)
    }
}

/// What `pg_upgrade` uses of the version before.
const OLD_PROGRAMS: &[&str] = &["pg_ctl", "pg_controldata", "pg_resetwal"];
/// And of the version that it is from.
const NEW_PROGRAMS: &[&str] = &[
    "pg_upgrade",
    "pg_ctl",
    "pg_controldata",
    "pg_resetwal",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "psql",
    "vacuumdb",
];

impl Binaries {
    /// The first of these programs that is not there.
    fn lacks<'a>(&self, programs: &[&'a str]) -> Option<&'a str> {
        let missing = |program: &&&str| !self.dir.join(program).is_file();
        programs.iter().find(missing).copied()
    }

    /// The programs of the data's version, and the newest that are newer; no second if there are none and nobody
    /// named a place for them.
    pub(super) fn pair(
        how: &Upgrade,
        data: &Path,
        version: &str,
    ) -> Result<(Binaries, Option<Binaries>), Error> {
        let found = |dir: Option<&PathBuf>, programs: &[&str]| -> Vec<Binaries> {
            let searched = match dir {
                Some(dir) => vec![dir.clone()],
                None => places(std::env::var_os("PATH").as_deref(), Path::new("/")),
            };
            let mut found: Vec<Binaries> = searched.iter().filter_map(|dir| probe(dir)).collect();
            // A directory on the PATH may hold links to some of them only.
            found.sort_by_key(|found| found.lacks(programs).is_some());
            found
        };
        let olds = found(how.old_bin_dir.as_ref(), OLD_PROGRAMS);
        let news = found(how.new_bin_dir.as_ref(), NEW_PROGRAMS);
        let (old, new) = pair(olds, news, version);
        if let (None, Some(dir)) = (&new, &how.new_bin_dir) {
            return Err(Error::upgrade(format!(
                "the data is of PostgreSQL {version}, and {} has no newer one",
                dir.display()
            )));
        }
        let Some(old) = old else {
            return Err(Error::upgrade(format!(
                "the programs of PostgreSQL {version}, which made {}, are needed too and were not found: install them \
                 beside the newer ones (Debian, Ubuntu: postgresql-{version}; Fedora, RHEL: postgresql-upgrade), or \
                 say where they are with --old-bin-dir",
                data.display()
            )));
        };
        let lacking = |binaries: &Binaries, programs| {
            let (dir, major) = (binaries.dir.display(), binaries.major);
            binaries.lacks(programs).map_or(Ok(()), |program| {
                Err(Error::upgrade(format!(
                    "{dir} has no {program}, which pg_upgrade needs: install all of PostgreSQL {major} (Debian, \
                     Ubuntu: postgresql-{major}; Fedora, RHEL: postgresql-server and postgresql-upgrade)"
                )))
            })
        };
        if let Some(new) = &new {
            lacking(&old, OLD_PROGRAMS)?;
            lacking(new, NEW_PROGRAMS)?;
        }
        Ok((old, new))
    }
}

fn pair(
    olds: Vec<Binaries>,
    news: Vec<Binaries>,
    version: &str,
) -> (Option<Binaries>, Option<Binaries>) {
    let major = version.parse().unwrap_or(u32::MAX);
    let old = olds.into_iter().find(|found| found.major == major);
    let newer = news.into_iter().filter(|found| found.major > major);
    // Of several of one version the first, which is where the search begins.
    let new = newer.reduce(|best, found| {
        if found.major > best.major {
            found
        } else {
            best
        }
    });
    (old, new)
}

fn choose(found: Vec<Binaries>, data: Option<(&Path, &str)>) -> Result<Binaries, Error> {
    let mut first = None;
    for candidate in found {
        let fits = match data {
            Some((_, version)) => candidate.major.to_string() == version,
            None => candidate.major >= MAJOR_MIN,
        };
        if fits && candidate.major >= MAJOR_MIN {
            return Ok(candidate);
        }
        first.get_or_insert(candidate);
    }
    let Some(Binaries { dir, major }) = first else {
        return Err(Error::NoBinaries {
            searched: String::new(),
            remedy: "install PostgreSQL".to_owned(),
        });
    };
    Err(match data {
        Some((data_dir, version)) if major.to_string() != version => Error::OtherMajor {
            dir: data_dir.to_owned(),
            data: version.to_owned(),
            program: major,
        },
        _ => Error::TooOld { found: major, dir },
    })
}

/// The directories to look in, best first.
fn places(path: Option<&OsStr>, root: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = path
        .map(|path| {
            std::env::split_paths(path)
                .filter(|dir| dir.is_absolute())
                .collect()
        })
        .unwrap_or_default();
    let mut versioned: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in [
        ("usr/lib/postgresql", ""),
        ("usr", "pgsql-"),
        // Where Fedora's postgresql-upgrade keeps the version before.
        ("usr/lib64/pgsql", "postgresql-"),
    ] {
        for entry in std::fs::read_dir(root.join(parent))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.strip_prefix(prefix))
                .and_then(|v| v.parse().ok());
            if let Some(version) = version {
                versioned.push((version, entry.path().join("bin")));
            }
        }
    }
    versioned.sort_by(|a, b| b.cmp(a));
    places.extend(versioned.into_iter().map(|(_, dir)| dir));
    places.extend(["usr/bin", "usr/local/pgsql/bin"].map(|dir| root.join(dir)));
    let mut seen = std::collections::HashSet::new();
    places.retain(|dir| seen.insert(dir.clone()));
    places
}

/// The programs in a directory, if both are there and say who they are.
fn probe(dir: &Path) -> Option<Binaries> {
    if !dir.join("initdb").is_file() || !dir.join("postgres").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let major = major(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries {
        dir: dir.to_owned(),
        major,
    })
}

/// `postgres (Postgres) 15.14 (Debian …)`, `… 18beta1`, `… 9.6.24` (9).
fn major(said: &str) -> Option<u32> {
    let version = said.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// What to install on this system, from `/etc/os-release`.
fn remedy(release: &str) -> String {
    let field = |name: &str| {
        let line = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let family = format!("{} {}", field("ID"), field("ID_LIKE"));
    let is = |names: &[&str]| family.split_whitespace().any(|id| names.contains(&id));
    if is(&["debian", "ubuntu"]) {
        "install the package `postgresql` (apt-get install postgresql)".to_owned()
    } else if is(&["fedora", "rhel", "centos", "rocky", "almalinux"]) {
        "install the package `postgresql-server` (dnf install postgresql-server)".to_owned()
    } else {
        format!(
            "install the package of this system that has PostgreSQL's server, {MAJOR_MIN} or newer"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major("something else 15"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn remedies_name_the_package() {
        assert!(remedy("ID=debian\n").contains("`postgresql`"));
        assert!(remedy("ID=pop\nID_LIKE=\"ubuntu debian\"\n").contains("`postgresql`"));
        assert!(
            remedy("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n")
                .contains("`postgresql-server`")
        );
        assert!(remedy("ID=fedora\n").contains("`postgresql-server`"));
        assert!(remedy("").contains("PostgreSQL's server"));
    }

    #[test]
    fn the_path_first_then_the_newest() {
        let root = tempfile::tempdir().expect("a directory");
        for dir in [
            "usr/lib/postgresql/9.6/bin",
            "usr/lib/postgresql/15/bin",
            "usr/pgsql-17/bin",
            "usr/lib/postgresql/x",
        ] {
            std::fs::create_dir_all(root.path().join(dir)).expect("a directory");
        }
        let places = places(Some(OsStr::new("/a:relative:/b:/a")), root.path());
        let relative: Vec<_> = places
            .iter()
            .map(|dir| dir.strip_prefix(root.path()).unwrap_or(dir))
            .collect();
        let want = [
            "/a",
            "/b",
            "usr/pgsql-17/bin",
            "usr/lib/postgresql/15/bin",
            "usr/bin",
            "usr/local/pgsql/bin",
        ];
        assert_eq!(relative, want.map(Path::new));
    }

    #[test]
    fn an_upgrade_goes_to_the_newest() {
        let at = |dir: &str, major: u32| Binaries {
            dir: dir.into(),
            major,
        };
        let all = || vec![at("/path", 16), at("/a", 18), at("/b", 15), at("/c", 18)];
        let (old, new) = pair(all(), all(), "15");
        assert_eq!((old, new), (Some(at("/b", 15)), Some(at("/a", 18))));
        assert_eq!(pair(all(), all(), "18"), (Some(at("/a", 18)), None));
        assert_eq!(pair(all(), all(), "14").0, None);
    }

    #[test]
    fn data_decides_the_version() {
        let at = |major: u32| Binaries {
            dir: format!("/{major}").into(),
            major,
        };
        let dir = Path::new("/data");
        assert_eq!(choose(vec![at(17), at(15)], None).expect("any"), at(17));
        assert_eq!(
            choose(vec![at(12), at(15)], None).expect("new enough"),
            at(15)
        );
        assert_eq!(
            choose(vec![at(17), at(15)], Some((dir, "15"))).expect("the data's"),
            at(15)
        );
        let error = choose(vec![at(17), at(16)], Some((dir, "15"))).expect_err("neither fits");
        assert!(
            matches!(&error, Error::OtherMajor { data, program: 17, .. } if data == "15"),
            "{error}"
        );
        assert!(error.to_string().contains("forebay db upgrade"), "{error}");
        assert!(matches!(
            choose(vec![at(12)], None),
            Err(Error::TooOld { found: 12, .. })
        ));
    }
}
