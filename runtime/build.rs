//! Selects the kernel at compile time. Rust has no stable `cfg` for the DSP extension of Armv7E-M and Armv8-M. On
//! Armv7E-M the name of the target decides; on Armv8-M, where the extension is optional, the feature `dsp` does.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(elbo_m0)");
    println!("cargo:rustc-check-cfg=cfg(elbo_dsp, values(none(), \"armv8-m\"))");
    let target = env::var("TARGET").unwrap_or_default();
    if target.starts_with("thumbv6m-") || target.starts_with("thumbv8m.base-") {
        println!("cargo:rustc-cfg=elbo_m0");
    }
    if target.starts_with("thumbv7em-") {
        println!("cargo:rustc-cfg=elbo_dsp");
    }
    if target.starts_with("thumbv8m.main-") && env::var_os("CARGO_FEATURE_DSP").is_some() {
        println!("cargo:rustc-cfg=elbo_dsp");
        println!("cargo:rustc-cfg=elbo_dsp=\"armv8-m\"");
    }
}
