//! The command `stress` notices a failing case, saves its blob, and runs it again from the file.

use elbo::Arena;
use elbo_fuzz_blobs::{MEMORY, Outcome, SPACE, run_case, write_case};
use std::path::PathBuf;
use std::process::{Command, Output};

fn stress(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stress")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn blob(case: u64) -> Vec<u8> {
    let mut words = [0; SPACE];
    let len = write_case(case, &mut words);
    words[..len].iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn a_case_that_panics_or_hangs_fails_and_is_saved() {
    for (how, sign) in [("--panic-at", "on purpose"), ("--hang-at", "case 333 hangs")] {
        let folder = folder(how);
        let _ = std::fs::remove_dir_all(&folder);
        let place = folder.to_str().unwrap();
        let output = stress(&["--cases", "500", "--patience", "0.5", "--failures", place, how, "333"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        let path = folder.join("case-333.elbo");
        for sign in [sign, "--cases 1 --seed 333", path.to_str().unwrap()] {
            assert!(said.contains(sign), "{sign}: {said}");
        }
        assert_eq!(std::fs::read(path).unwrap(), blob(333));
    }
}

#[test]
fn a_saved_case_does_in_a_file_what_it_does_by_number() {
    let (mut words, mut arena) = ([0; SPACE], Arena::<MEMORY>::new());
    let mut outcomes = (0..1000).map(|case| (case, run_case(case, &mut words, arena.as_mut_slice())));
    let (case, outcome) = outcomes.find(|(_, outcome)| matches!(outcome, Outcome::Ran { .. })).unwrap();
    let path = folder("replayed.elbo");
    std::fs::write(&path, blob(case)).unwrap();
    let output = stress(&["--replay", path.to_str().unwrap()]);
    assert!(output.status.success() && text(&output.stdout).contains(&format!("{outcome:x?}")), "{output:?}");
}

#[test]
fn too_few_that_run_are_a_failure() {
    assert!(stress(&["--cases", "2000", "--least-share", "5"]).status.success());
    let output = stress(&["--cases", "2000", "--least-share", "90"]);
    assert!(!output.status.success() && text(&output.stderr).contains("less than 90 %"), "{output:?}");
}
