//! Keeps the README and the book true: every key and default of the configuration, every metric,
//! every command, every link, and every function and test that a page names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use trainer::{Experiment, Registry, Session, Source, Sweep};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn book(page: &str) -> String {
    text_of(&root().join("docs").join(page))
}

/// The README and every page of the book, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let book = fs::read_dir(root().join("docs"))
        .expect("the book")
        .map(|entry| entry.expect("an entry of the book's directory").path());
    let pages = book.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root().join("README.md")]).map(|path| (path.clone(), text_of(&path))).collect()
}

/// The lines outside of fenced code, and those inside of fences that begin with ```` ```LANGUAGE ````.
fn split_fences<'a>(text: &'a str, language: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut prose, mut code) = (Vec::new(), Vec::new());
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) => fence = Some(language.trim()),
            (None, Some(inside)) if inside == language => code.push(line),
            (None, Some(_)) => {}
            (None, None) => prose.push(line),
        }
    }
    (prose, code)
}

/// The links `[text](target)` of a page to other files here.
fn links(text: &str) -> Vec<(String, String)> {
    let prose = split_fences(text, "").0.join("\n");
    let link = |(middle, _): (usize, &str)| {
        let start = prose[..middle].rfind('[')? + 1;
        let end = middle + 2 + prose[middle + 2..].find(')')?;
        Some((prose[start..middle].to_owned(), prose[middle + 2..end].to_owned()))
    };
    prose
        .match_indices("](")
        .filter_map(link)
        .filter(|(_, target)| !target.contains("://"))
        .collect()
}

/// What `code` spans of a page hold, outside of fences.
fn code_spans(text: &str) -> Vec<String> {
    let prose = split_fences(text, "").0.join("\n");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The names that links to the headings of a page go by.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = split_fences(text, "").0.into_iter().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|line| line.chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn a_program_that_trains_its_own_environment_has_30_lines() {
    let readme = text_of(&root().join("crates/agents/README.md"));
    let (_, program) = split_fences(&readme, "rust");
    let is_line = |text: &str| program.iter().any(|line| line.contains(text));
    assert!(is_line("fn main") && is_line("impl Environment for"), "{program:?}");
    assert!(program.len() <= 30, "{} lines", program.len());
    assert!(program.iter().all(|line| line.chars().count() <= 100), "a line is too long");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    for (path, text) in &pages {
        for (_, target) in links(text) {
            let (file, anchor) = match target.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (target.as_str(), None),
            };
            let there = match file {
                "" => path.clone(),
                file => path.parent().expect("a page is in a directory").join(file),
            };
            assert!(there.exists(), "{}: nothing at {target}", path.display());
            let found = anchor.is_none_or(|anchor| anchors(&text_of(&there)).contains(anchor));
            assert!(found, "{}: no heading for {target}", path.display());
        }
    }
}

/// A file's text, or the part of it between the marks of an anchor, without marks.
fn shown(target: &str) -> String {
    let (file, anchor) =
        target.split_once(':').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let text = text_of(&root().join("docs").join(file));
    let mut inside = anchor.is_none();
    let mut lines = Vec::new();
    for line in text.lines() {
        let mark = |word: &str| {
            let name = line.split_once(word)?.1.split_whitespace().next();
            Some(name == anchor && anchor.is_some())
        };
        match (mark("ANCHOR: "), mark("ANCHOR_END: ")) {
            (Some(own), _) => inside |= own,
            (_, Some(own)) => inside &= !own,
            _ if inside => lines.push(line),
            _ => {}
        }
    }
    lines.join("\n").trim_end().to_owned()
}

/// Where code is hosted, a book's include would be shown as it is; so the code stands in the page.
#[test]
fn code_that_is_shown_is_code_that_runs() {
    let mut checked = 0;
    for (path, text) in pages() {
        assert!(!text.contains("{{#include"), "{}: an include", path.display());
        for part in text.split("<!-- ").skip(1) {
            let Some((target, rest)) = part.split_once(" -->\n\n```") else { continue };
            let (_, rest) = rest.split_once('\n').expect("a fence");
            let (code, _) = rest.split_once("\n```").expect("the fence's end");
            assert_eq!(code, shown(target), "{}: {target} (left: the page)", path.display());
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} pieces of code were found: is their form another?");
}

#[test]
fn the_summary_lists_every_page() {
    let linked: BTreeSet<_> = links(&book("SUMMARY.md")).into_iter().map(|link| link.1).collect();
    for path in pages().keys().filter(|path| path.parent() != Some(&root())) {
        let name = path.file_name().expect("a file").to_string_lossy();
        assert!(name == "SUMMARY.md" || linked.contains(&*name), "SUMMARY.md lacks {name}");
    }
}

/// Whether a Rust source declares `name`: an item, an enum's variant or a field.
fn declares(source: &str, name: &str) -> bool {
    const KEYWORDS: [&str; 7] =
        ["fn ", "struct ", "enum ", "trait ", "const ", "type ", "macro_rules! "];
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    source.lines().map(str::trim_start).any(|line| {
        let item = KEYWORDS.iter().any(|keyword| {
            let mut parts = line.match_indices(keyword).map(|(at, _)| &line[at + keyword.len()..]);
            parts.any(|rest| rest.strip_prefix(name).is_some_and(ends))
        });
        let member = line.strip_prefix("pub ").unwrap_or(line).strip_prefix(name);
        item || member.is_some_and(|rest| {
            [",", " {", "(", ":"].iter().any(|end| rest.starts_with(end)) && !rest.starts_with("::")
        })
    })
}

#[test]
fn every_source_that_the_book_names_exists() {
    let mut checked = 0;
    for (path, text) in pages() {
        for (label, target) in links(&text).iter().filter(|(_, target)| target.ends_with(".rs")) {
            let source = text_of(&path.parent().expect("a directory").join(target));
            for name in label.trim_matches('`').split("::").filter(|name| !name.ends_with(".rs")) {
                let found = declares(&source, name);
                assert!(found, "{}: {target} declares no {name} ({label})", path.display());
                checked += 1;
            }
        }
        for span in code_spans(&text) {
            let ours = ["crates/", "configs/", "tests/", "docs/", ".ci/"];
            if ours.iter().any(|start| span.starts_with(start)) && !span.contains([' ', '*']) {
                assert!(root().join(&span).exists(), "{}: there is no {span}", path.display());
            }
        }
    }
    assert!(checked > 50, "only {checked} names were found: is the form of the links another?");
}

#[test]
fn every_formula_of_the_theory_names_its_test() {
    let theory = book("theory.md");
    let paragraphs: Vec<&str> = theory.split("\n\n").collect();
    let mut named = 0;
    for paragraph in paragraphs.iter().filter(|paragraph| paragraph.contains("**Computed by**")) {
        let (_, checks) = paragraph
            .split_once("**Checked by**")
            .unwrap_or_else(|| panic!("no test is named in: {paragraph}"));
        assert!(links(checks).iter().any(|(_, file)| file.ends_with(".rs")), "{paragraph}");
        named += 1;
    }
    assert!(named > 15, "only {named} formulas name their function");
}

fn parse(text: &str) -> Result<Experiment, trainer::Error> {
    let source = Source::new(Path::new("test.toml"), text.to_owned(), &[]);
    Experiment::parse(&source, &Registry::default()).map(|(experiment, _)| experiment)
}

/// The least configuration of an algorithm, with more lines at its end.
fn configuration(algorithm: &str, table: &str, line: &str) -> String {
    let tables = ["env", "agent", "network", "eval", "checkpoint", "agent.kl_penalty"];
    let parts = tables.iter().chain(&["agent.constraint"]).map(|&name| {
        let header = format!("[{name}]\n");
        let own = match name {
            "env" => "name = \"cartpole\"\n".to_owned(),
            "agent" => format!("algorithm = \"{algorithm}\"\n"),
            _ if name != table => return String::new(),
            "agent.constraint" => "cost = \"track\"\nlimit = 1.0\n".to_owned(),
            _ => String::new(),
        };
        let more = if name == table { line } else { "" };
        format!("{header}{own}{more}\n")
    });
    format!("{}\n{}", if table.is_empty() { line } else { "" }, parts.collect::<String>())
}

/// The keys that the trainer takes in a table, as it lists them when it meets one that it does not
/// know; dotted.
fn known_keys(algorithm: &str, table: &str) -> BTreeSet<String> {
    let text = configuration(algorithm, table, "zzzzzz = 1");
    let message = parse(&text).expect_err("there is no key zzzzzz").to_string();
    let list = message.split_once("there is: ").unwrap_or_else(|| panic!("no list in: {message}"));
    let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
    list.1.trim().split(", ").map(|key| format!("{prefix}{key}")).collect()
}

/// A section of `configuration.md` with the table of the configuration that it documents.
const SECTIONS: [(&str, &str, &str); 9] = [
    ("At the top of the file", "ppo", ""),
    ("`[env]`", "ppo", "env"),
    ("`[network]`", "ppo", "network"),
    ("`[agent]` with PPO", "ppo", "agent"),
    ("`[agent.kl_penalty]`", "ppo", "agent.kl_penalty"),
    ("`[agent]` with TRPO", "trpo", "agent"),
    ("`[agent.constraint]`", "ppo", "agent.constraint"),
    ("`[eval]`", "ppo", "eval"),
    ("`[checkpoint]`", "ppo", "checkpoint"),
];

/// The rows of a section's table: key and default.
fn documented(section: &str) -> BTreeMap<String, String> {
    let page = book("configuration.md");
    let body = page
        .split("\n## ")
        .find_map(|part| part.strip_prefix(section)?.strip_prefix('\n'))
        .unwrap_or_else(|| panic!("configuration.md has no section {section}"));
    let rows = body.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim().trim_matches('|').split('|').map(str::trim);
        let cells: Vec<&str> = cells.collect();
        assert_eq!(cells.len(), 5, "key, type, default, range, meaning: {row}");
        assert!(!cells[1].is_empty() && cells[4].len() > 5, "not explained: {row}");
        (cells[0].trim_matches('`').to_owned(), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let tables = ["env", "network", "agent", "eval", "checkpoint", "sweep"];
    for (section, algorithm, table) in SECTIONS {
        let mut known = known_keys(algorithm, table);
        known.retain(|key| !tables.contains(&key.as_str()));
        let documented: BTreeSet<_> = documented(section).into_keys().collect();
        assert_eq!(documented, known, "section {section} (left), trainer (right)");
    }
    let text = configuration("ppo", "agent", "learning_rate = { start = 1, end = 0, zzzzzz = 1 }");
    let message = parse(&text).expect_err("there is no key zzzzzz").to_string();
    let keys: Vec<_> = documented("Schedules").into_keys().collect();
    for key in ["start", "end", "schedule"] {
        assert!(keys.contains(&key.to_owned()) && message.contains(key), "{key}: {message}");
    }
    assert_eq!(keys.len(), 3);
}

#[test]
fn every_key_of_a_sweep_is_documented_and_every_documented_default_is_true() {
    let parse = |lines: &str| {
        let text = format!("{lines}\n{}", configuration("ppo", "", ""));
        Sweep::parse(&Source::new(Path::new("test.toml"), text, &[]))
    };
    for (section, header) in [
        ("`[sweep]`", "[sweep]"),
        ("`[sweep.search]`", "[sweep.search]\ntrials = 3\nagent.gamma = { uniform = [0.1, 0.2] }"),
    ] {
        let message =
            parse(&format!("{header}\nzzzzzz = 1")).expect_err("no key zzzzzz").to_string();
        let list = message.split_once("there is: ").unwrap_or_else(|| panic!("no list: {message}"));
        let prefix = section.trim_matches(['`', '[', ']']);
        let known = list.1.trim().split(", ").filter(|key| !["grid", "search"].contains(key));
        let known: BTreeSet<String> = known.map(|key| format!("{prefix}.{key}")).collect();
        let documented = documented(section);
        assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), known, "{section}");

        let sweep = parse(header).expect("a sweep").expect("it is there");
        let resolved: Table = sweep.to_toml(&Registry::default()).unwrap().parse().unwrap();
        let mut values = BTreeMap::new();
        flattened("", &resolved, &mut values);
        for (key, default) in documented {
            let literal = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let expected = literal.map(|text| format!("x = {text}").parse::<Table>().unwrap());
            match expected {
                Some(expected) => assert_eq!(values.get(&key), expected.get("x"), "{key}"),
                None => assert_eq!(values.contains_key(&key), default != "none", "{key}"),
            }
        }
    }
}

/// Every value of a table by its dotted key, tables themselves included.
fn flattened(prefix: &str, table: &Table, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        if let Value::Table(inside) = value {
            flattened(&format!("{key}."), inside, into);
        }
        into.insert(key, value.clone());
    }
}

#[test]
fn every_documented_default_is_true() {
    for (section, algorithm, table) in SECTIONS {
        let text = configuration(algorithm, table, "");
        let resolved = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let resolved: Table = resolved.to_toml().unwrap().parse().unwrap();
        let mut values = BTreeMap::new();
        flattened("", &resolved, &mut values);
        for (key, default) in documented(section) {
            let found = values.get(&key);
            match default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
                Some(literal) => {
                    let expected: Table = format!("x = {literal}").parse().unwrap();
                    assert_eq!(found, Some(&expected["x"]), "default of {key}");
                }
                None if default == "none" => assert_eq!(found, None, "default of {key}"),
                None => assert!(found.is_some(), "{key} has no default"),
            }
        }
    }
    let resolved = parse(&configuration("ppo", "", "total_steps = 70_000")).unwrap();
    assert_eq!(resolved.checkpoint.every_steps, 7_000, "a tenth of total_steps");
    assert_eq!(resolved.name, "test", "the file's name");
}

#[test]
fn the_schema_has_every_documented_key_and_default() {
    let schema = trainer::schema(&Registry::default());
    let top = &schema["properties"];
    let ppo = &top["agent"]["anyOf"][0];
    for (section, algorithm, table) in SECTIONS {
        let properties = match (table, algorithm) {
            ("", _) => top,
            ("agent", "ppo") => &ppo["properties"],
            ("agent", _) => &top["agent"]["anyOf"][1]["properties"],
            ("agent.kl_penalty", _) => &ppo["properties"]["kl_penalty"]["properties"],
            ("agent.constraint", _) => &ppo["properties"]["constraint"]["anyOf"][0]["properties"],
            (table, _) => &top[table]["properties"],
        };
        let known = properties.as_object().expect("a table of keys");
        for (key, default) in documented(section) {
            let found = known.get(key.rsplit('.').next().expect("a key"));
            let found = found.unwrap_or_else(|| panic!("the schema has no {key} in {section}"));
            let literal = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let default = literal.map(|text| format!("x = {text}").parse::<Table>().unwrap());
            let given = found.get("default").map(|value| Value::try_from(value).unwrap());
            assert_eq!(given.as_ref(), default.as_ref().map(|table| &table["x"]), "{key}");
            assert!(found["description"].as_str().is_some_and(|text| text.len() > 5), "{key}");
        }
    }
}

/// The names that short updates of every algorithm report, with a constraint, with and without the KL
/// penalty.
fn metrics_of_updates() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let registry = Registry::default();
    let names = registry.algorithms.all().iter().map(|algorithm| algorithm.name);
    let agents = names.map(|name| format!("algorithm = '{name}'"));
    let penalised = "algorithm = 'ppo'\nkl_penalty = {}".to_owned();
    for agent in agents.chain([penalised]) {
        let constraint = "constraint = { cost = 'fall', limit = 1 }";
        let text =
            format!("env.name = 'gusty'\n[agent]\nrollout_steps = 32\n{constraint}\n{agent}");
        let source = Source::new(Path::new("metrics.toml"), text, &[]);
        let (experiment, task) = Experiment::parse(&source, &registry).expect("a configuration");
        let mut session = Session::begin(experiment, task, &source).expect("a session");
        let metrics = session.training.iterate().expect("a finite update").update;
        known.extend(metrics.entries().iter().map(|(name, _)| name.to_string()));
    }
    known
}

#[test]
fn every_metric_is_documented() {
    let known = metrics_of_updates();
    let tutorial = book("tutorial.md");
    let (_, table) = tutorial.split_once("\n### Columns\n").expect("a section on columns");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> =
        rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
    let of_updates = |name: &&String| name.starts_with("train/");
    let documented_of_updates: BTreeSet<_> = documented.iter().filter(of_updates).collect();
    assert_eq!(documented_of_updates, known.iter().collect());
    // The other columns are named where the record is put together.
    let source = text_of(&root().join("crates/trainer/src/experiment/metrics.rs"));
    for name in documented.iter().filter(|name| name.contains('/') && !of_updates(name)) {
        assert!(source.contains(&format!("\"{name}\"")), "no column {name}");
    }
    for name in source
        .split('"')
        .filter(|text| ["time/", "rollout/", "eval/"].iter().any(|start| text.starts_with(start)))
    {
        assert!(documented.contains(name), "tutorial.md does not explain {name}");
    }
}

#[test]
fn commands_use_verbs_flags_keys_and_files_that_exist() {
    let cli = text_of(&root().join("crates/trainer/src/cli.rs"));
    let sections = SECTIONS.iter().map(|(section, ..)| *section);
    let keys: BTreeSet<String> = sections
        .chain(["`[sweep]`", "`[sweep.search]`"])
        .flat_map(|section| documented(section).into_keys())
        .collect();
    let mut checked = 0;
    for (path, text) in pages() {
        for line in split_fences(&text, "sh").1 {
            let line = line.split(" #").next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let arguments = match words.as_slice() {
                ["trainer", rest @ ..] | ["cargo", "run", "--release", "--", rest @ ..] => rest,
                _ => continue,
            };
            let place = format!("{}: {line}", path.display());
            let Some(verb) = arguments.first().filter(|word| !word.starts_with('-')) else {
                continue;
            };
            let parts = verb.split('-').map(|part| part[..1].to_uppercase() + &part[1..]);
            let variant: String = parts.collect();
            assert!(*verb == "help" || declares(&cli, &variant), "no verb {verb} in {place}");
            for flag in arguments.iter().filter_map(|word| word.strip_prefix("--")) {
                let flag = flag.split('=').next().unwrap_or_default().replace('-', "_");
                assert!(flag == "help" || declares(&cli, &flag), "no flag {flag} in {place}");
            }
            for pair in arguments.windows(2).filter(|pair| pair[0] == "--set") {
                let key = pair[1].split('=').next().unwrap_or_default();
                assert!(keys.contains(key), "no key {key} in {place}");
            }
            for file in arguments.iter().filter(|word| word.starts_with("configs/")) {
                assert!(root().join(file).exists(), "no file {file} in {place}");
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} commands were found");
}

#[test]
fn every_value_of_the_configurations_says_why() {
    let files = fs::read_dir(root().join("configs")).expect("the configurations");
    let files = files.map(|entry| entry.expect("an entry").path());
    for path in files.filter(|path| path.extension() == Some("toml".as_ref())) {
        for line in text_of(&path).lines().filter(|line| line.contains(" = ")) {
            let comment = line.split_once(" # ").map_or("", |(_, comment)| comment);
            assert!(comment.trim().len() > 5, "{}: no comment on {line}", path.display());
        }
    }
}
