//! One training step of a 784-400-400-40 VAE (batch 100, `f32`, two threads): Elbo against stock candle.
//!
//! Every measurement is a child process of its own, and the kinds alternate, so that a machine that changes speed
//! changes all of them. Stock candle means `candle_nn::linear` layers, candle's binary cross-entropy and AdamW, and the
//! system's allocator; Elbo runs under mimalloc, as its command does. Beside them: the bare matrix products of the same
//! step, and Elbo's step while another process keeps one core busy.
//!
//! `--quick` measures less. Without it the exit code is 1 when a bar is missed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::ffi::{c_char, c_int};
use std::hint::black_box;
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, Optimizer, VarBuilder, VarMap};
use elbo_compiler::Likelihood;
use elbo_trainer::family::vae::{Vae, VaeSpec};
use elbo_trainer::nn::{Activation, Adam, AdamParams, Rng, gemm, on_pool};
use elbo_trainer::settings::Estimator;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const KIND: &str = "ELBO_BENCH_KIND";
const STEPS: &str = "ELBO_BENCH_STEPS";
const STOCK: &str = "stock";
const STOCK_MIMALLOC: &str = "stock-mimalloc";
const INPUT: usize = 784;
const HIDDEN: usize = 400;
const LATENT: usize = 40;
const BATCH: usize = 100;
const RATE: f64 = 1e-3;

/// The most that Elbo's step may take, as a part of stock candle's.
const BAR_STOCK: f64 = 0.25;
/// The most that Elbo's step may take with one core busy, as a multiple of its time on an idle machine.
const BAR_BUSY: f64 = 2.5;

unsafe extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
    fn strcmp(a: *const c_char, b: *const c_char) -> c_int;
}

/// The system's allocator in a stock child, mimalloc otherwise: chosen at the first allocation, for good.
struct Chosen;

static CHOICE: AtomicU8 = AtomicU8::new(0);

impl Chosen {
    #[inline]
    fn system() -> bool {
        match CHOICE.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: the names are C strings, `getenv` gives a C string or null, and nothing here changes the
                // environment.
                let system = unsafe {
                    let kind = getenv(c"ELBO_BENCH_KIND".as_ptr());
                    !kind.is_null() && strcmp(kind, c"stock".as_ptr()) == 0
                };
                CHOICE.store(1 + u8::from(system), Ordering::Relaxed);
                system
            }
            choice => choice == 2,
        }
    }
}

// SAFETY: every call goes to one and the same allocator, for the choice is a function of the environment.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { if Self::system() { System.alloc(layout) } else { mimalloc::MiMalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { if Self::system() { System.alloc_zeroed(layout) } else { mimalloc::MiMalloc.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            if Self::system() { System.realloc(p, layout, size) } else { mimalloc::MiMalloc.realloc(p, layout, size) }
        }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { if Self::system() { System.dealloc(p, layout) } else { mimalloc::MiMalloc.dealloc(p, layout) } }
    }
}

#[global_allocator]
static ALLOCATOR: Chosen = Chosen;

/// A binary batch, the same for every kind.
fn batch() -> Outcome<Tensor> {
    let p = Tensor::full(0.3f32, (BATCH, INPUT), &Device::Cpu)?;
    Ok(Rng::new(1).bernoulli(&p)?)
}

/// Milliseconds per call, after a warm-up of a fifth of the calls.
fn time(steps: usize, mut step: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    for _ in 0..steps.div_ceil(5) {
        step()?;
    }
    let start = Instant::now();
    for _ in 0..steps {
        step()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / steps as f64)
}

fn ours(steps: usize) -> Outcome<f64> {
    let spec = VaeSpec {
        input: INPUT,
        hidden: vec![HIDDEN, HIDDEN],
        latent: LATENT,
        activation: Activation::Relu,
        likelihood: Likelihood::Bernoulli,
    };
    let vae = Vae::new(spec, 0, &Device::Cpu, DType::F32)?;
    let mut adam = Adam::new(vae.vars(), AdamParams::default())?;
    let mut rng = Rng::new(2);
    let x = batch()?;
    on_pool(|| {
        time(steps, || {
            let eps = rng.normal((BATCH, LATENT), DType::F32, &Device::Cpu)?;
            let loss = vae.loss(&x, &eps, 1.0, Estimator::B)?;
            Ok(adam.step(&loss.total.backward()?, RATE)?)
        })
    })
}

fn stock(steps: usize) -> Outcome<f64> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let layer = |inp, out, name: &str| candle_nn::linear(inp, out, vb.pp(name));
    let (e0, e1) = (layer(INPUT, HIDDEN, "e0")?, layer(HIDDEN, HIDDEN, "e1")?);
    let (mu, logvar) = (layer(HIDDEN, LATENT, "mu")?, layer(HIDDEN, LATENT, "logvar")?);
    let (d0, d1) = (layer(LATENT, HIDDEN, "d0")?, layer(HIDDEN, HIDDEN, "d1")?);
    let head = layer(HIDDEN, INPUT, "head")?;
    let variables: Vec<Var> = vars.all_vars();
    let mut adam = candle_nn::AdamW::new_lr(variables, RATE)?;
    let x = batch()?;
    time(steps, || {
        let h = e1.forward(&e0.forward(&x)?.relu()?)?.relu()?;
        let (mu, logvar) = (mu.forward(&h)?, logvar.forward(&h)?);
        let eps = Tensor::randn(0f32, 1f32, (BATCH, LATENT), &Device::Cpu)?;
        let z = (&mu + (&logvar * 0.5)?.exp()?.mul(&eps)?)?;
        let logits = head.forward(&d1.forward(&d0.forward(&z)?.relu()?)?.relu()?)?;
        let nll = (candle_nn::loss::binary_cross_entropy_with_logit(&logits, &x)? * INPUT as f64)?;
        let kl = ((((&mu * &mu)? + logvar.exp()?)? - 1.0)? - &logvar)?;
        let kl = (kl.sum_all()? * (0.5 / BATCH as f64))?;
        Ok(adam.backward_step(&(nll + kl)?)?)
    })
}

/// The matrix products of the step and nothing else: forward, by the weights, and by the input but for the first layer.
fn products(steps: usize) -> Outcome<f64> {
    let layers =
        [(INPUT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INPUT)];
    let mut rng = Rng::new(3);
    let mut values = |n: usize| {
        let mut v = vec![0.0f32; n];
        rng.fill_normal(&mut v);
        v
    };
    let mut operands: Vec<_> = layers
        .iter()
        .map(|&(i, o)| [(BATCH, i), (o, i), (BATCH, o)].map(|(r, c)| (values(r * c), vec![0.0f32; r * c])))
        .collect();
    on_pool(|| {
        time(steps, || {
            for (&(i, o), [x, w, y]) in layers.iter().zip(&mut operands) {
                gemm::matmul((BATCH, o, i), (&x.0, false), (&w.0, true), &mut y.1);
            }
            for (layer, (&(i, o), [x, w, y])) in layers.iter().zip(&mut operands).enumerate().rev() {
                gemm::matmul((o, i, BATCH), (&y.0, true), (&x.0, false), &mut w.1);
                if layer > 0 {
                    gemm::matmul((BATCH, i, o), (&y.0, false), (&w.0, false), &mut x.1);
                }
            }
            black_box(&mut operands);
            Ok(())
        })
    })
}

/// A child of one kind; the environment tells it so before it allocates anything.
fn child(kind: &str, steps: usize) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(KIND, kind).env(STEPS, steps.to_string()).env("RAYON_NUM_THREADS", "2");
    if !kind.starts_with(STOCK) {
        // As the command does: candle's own pool would spin on the second core.
        command.env("CANDLE_NUM_THREADS", "1");
    }
    Ok(command)
}

fn measure(kind: &str, steps: usize) -> Outcome<f64> {
    let output = child(kind, steps)?.output()?;
    if !output.status.success() {
        return Err(format!("{kind}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// A child that keeps one core busy until dropped.
struct Spinner(Child);

impl Spinner {
    fn start() -> Outcome<Self> {
        let spinner = Self(child("spin", 0)?.spawn()?);
        std::thread::sleep(Duration::from_millis(100));
        Ok(spinner)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Spins; gives up after ten minutes, should nobody end it.
fn spin() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(600) {
        for i in 0..1_000_000u64 {
            black_box(i);
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run_child(kind: &str) -> Outcome<()> {
    let steps = std::env::var(STEPS)?.parse()?;
    let ms = match kind {
        "ours" => ours(steps)?,
        STOCK | STOCK_MIMALLOC => stock(steps)?,
        "products" => products(steps)?,
        "spin" => {
            spin();
            return Ok(());
        }
        other => return Err(format!("no such measurement: {other}").into()),
    };
    println!("{ms}");
    Ok(())
}

fn compare(quick: bool) -> Outcome<bool> {
    let (rounds, steps) = if quick { (3, 50) } else { (9, 100) };
    println!("VAE {INPUT}-{HIDDEN}-{HIDDEN}-{LATENT}, batch {BATCH}, f32, 2 threads; {rounds} rounds of {steps} steps");
    let [mut a, mut b, mut m, mut c, mut d] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        a.push(measure("ours", steps)?);
        b.push(measure(STOCK, steps / 2)?);
        m.push(measure(STOCK_MIMALLOC, steps / 2)?);
        c.push(measure("products", steps)?);
        let spinner = Spinner::start()?;
        d.push(measure("ours", steps)?);
        drop(spinner);
    }
    let spread = |v: &[f64]| {
        let by = |f: fn(f64, f64) -> f64| v.iter().copied().reduce(f).unwrap_or(f64::NAN);
        format!("{:.2} to {:.2}", by(f64::min), by(f64::max))
    };
    let spreads = [&a, &b, &m, &c, &d].map(|v| spread(v));
    let medians = [&mut a, &mut b, &mut m, &mut c, &mut d].map(|v| median(v));
    let names = ["Elbo", "stock candle", "stock, with mimalloc", "matrix products alone", "Elbo, one core busy"];
    for ((name, ms), spread) in names.iter().zip(medians).zip(&spreads) {
        println!("{name:<24}{ms:8.2} ms per step ({spread})");
    }
    let [ours, stock, stock_mimalloc, products, busy] = medians;
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let (fast, steady) = (ours <= BAR_STOCK * stock, busy <= BAR_BUSY * ours);
    println!("Elbo / stock candle      {:8.3}    at most {BAR_STOCK}: {}", ours / stock, verdict(fast));
    println!("busy / idle              {:8.3}    at most {BAR_BUSY}: {}", busy / ours, verdict(steady));
    println!("Elbo / stock, mimalloc   {:8.3}", ours / stock_mimalloc);
    println!("Elbo / matrix products   {:8.3}", ours / products);
    Ok(fast && steady)
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|a| a == "--quick");
    let outcome = match std::env::var(KIND) {
        Ok(kind) => run_child(&kind).map(|()| true),
        Err(_) => compare(quick).map(|met| met || quick),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("train_step: {e}");
            ExitCode::FAILURE
        }
    }
}
