//! Runs a firmware in QEMU.

use std::io::{ErrorKind, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail};

use super::board::{Board, Means};
use super::client::Client;
use super::firmware::Image;

const PROGRAM: &str = "qemu-system-arm";

/// A running emulator. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    board: &'static Board,
    output: Arc<Mutex<String>>,
}

impl Emulator {
    /// Starts an image. Time in the emulator is the number of executed instructions, with one nanosecond each.
    ///
    /// # Errors
    /// The board is not emulated, or the emulator is not installed.
    pub fn start(board: &'static Board, image: &Image) -> Result<Self> {
        let mut command = Self::command(board, image)?;
        command.args(["-icount", "shift=0"]);
        Self::spawn(board, &mut command)
    }

    /// Starts an image in real time.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_in_real_time(board: &'static Board, image: &Image) -> Result<Self> {
        Self::spawn(board, &mut Self::command(board, image)?)
    }

    fn spawn(board: &'static Board, command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started(child)?;
        let output = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, Arc::clone(&output));
        }
        Ok(Self { child, board, output })
    }

    /// Runs an image in real time with its serial port on this terminal, until the firmware or the user ends it.
    ///
    /// # Errors
    /// Those of [`Self::start`], or the emulator fails.
    pub fn interact(board: &'static Board, image: &Image) -> Result<()> {
        let mut child = started(Self::command(board, image)?.spawn())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the emulated {} ended with {status}", board.name);
        }
        Ok(())
    }

    /// The emulator's command line: the serial port is on standard input and output, semihosting on standard error.
    ///
    /// # Errors
    /// The board is not emulated.
    fn command(board: &'static Board, image: &Image) -> Result<Command> {
        let Means::Emulator { machine } = board.means else {
            bail!("{} is not an emulated board. It needs the hardware and a debug probe.", board.name)
        };
        let mut command = Command::new(PROGRAM);
        command
            .args(["-machine", machine, "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
            .arg(&image.path);
        if let Some((file, address)) = &image.apart {
            let file = file.to_string_lossy().replace(',', ",,");
            command.arg("-device").arg(format!("loader,file={file},addr={address:#x},force-raw=on"));
        }
        Ok(command)
    }

    /// Connects to the console of the firmware, which must be [`Application::Serve`](super::Application::Serve).
    ///
    /// # Errors
    /// There is already a connection.
    pub fn connect(mut self) -> Result<Client> {
        let in_use = "the serial port of the emulator is already in use";
        let input: ChildStdin = self.child.stdin.take().context(in_use)?;
        let output: ChildStdout = self.child.stdout.take().context(in_use)?;
        Ok(Client::new(self.board.name, Box::new(input), Box::new(output), Some(self)))
    }

    /// Returns everything that the firmware writes to its serial port until `enough` returns true.
    ///
    /// # Errors
    /// The serial port ends before that. The message contains the emulator's output.
    pub fn read_until(&mut self, mut enough: impl FnMut(&str) -> bool) -> Result<String> {
        let mut port = self.child.stdout.take().context("the serial port of the emulator is already in use")?;
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while !enough(&String::from_utf8_lossy(&text)) {
            match port.read(&mut buffer).context("cannot read the serial port of the emulator")? {
                0 => bail!("the serial port of {} has ended{}", self.board.name, self.diagnostics()),
                count => text.extend(&buffer[..count]),
            }
        }
        self.child.stdout = Some(port);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Everything that explains a failure: how the emulator has ended, if it has, and what it has written to standard
    /// error.
    pub fn diagnostics(&mut self) -> String {
        let mut text = match self.child.try_wait() {
            Ok(Some(status)) => format!("; the emulator ended with {status}"),
            _ => String::new(),
        };
        let output = self.output.lock().map(|output| output.trim().to_owned()).unwrap_or_default();
        if !output.is_empty() {
            text += &format!("; it printed:\n{output}");
        }
        text
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn started(child: std::io::Result<Child>) -> Result<Child> {
    child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("{PROGRAM} is not installed. Run `cargo xtask setup`."),
        _ => anyhow::Error::new(error).context(format!("cannot start {PROGRAM}")),
    })
}

fn collect(mut stderr: ChildStderr, output: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            if let Ok(mut output) = output.lock() {
                output.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_board_is_not_emulated() {
        let image = Image { path: "x".into(), apart: None };
        let error = Emulator::start(Board::find("pico").unwrap(), &image).unwrap_err();
        assert!(error.to_string().contains("pico is not an emulated board"), "{error}");
    }

    #[test]
    fn a_missing_emulator_says_how_to_get_it() {
        let error = started(Command::new("/nonexistent/qemu").spawn()).unwrap_err();
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");
    }
}
