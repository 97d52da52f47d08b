//! Last words of a command that Ctrl-C or SIGTERM ends.

use std::io;
use std::sync::{Arc, atomic::AtomicBool};

/// Ends the process at the first SIGINT or SIGTERM as the signal itself would, but lets `last_words` return first, in a
/// thread of their own. The second signal does not wait for them. The flag is set from the first signal on.
#[cfg(unix)]
pub(crate) fn on_interrupt(
    last_words: impl FnOnce() + Send + 'static,
) -> io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    let is_told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, so that the first signal only sets the flag.
        flag::register_conditional_default(signal, Arc::clone(&is_told))?;
        flag::register(signal, Arc::clone(&is_told))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            last_words();
            // It fails for no signal that ends a process.
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(is_told)
}

#[cfg(not(unix))]
pub(crate) fn on_interrupt(_: impl FnOnce() + Send + 'static) -> io::Result<Arc<AtomicBool>> {
    Ok(Arc::default())
}
