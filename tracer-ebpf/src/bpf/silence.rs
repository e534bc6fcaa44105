//! Programs that only count. When `kvm_exit` stays silent they tell which other KVM events move, and so what
//! the silence means. One program an event: an attached tracepoint program cannot be told which one it is on.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use crate::maps::{SILENCE, bump};

macro_rules! counting {
    ($($name:ident = $index:literal),+ $(,)?) => {$(
        /// Counts under its own index.
        #[tracepoint]
        pub fn $name(_ctx: TracePointContext) -> u32 {
            bump(&SILENCE, $index);
            1
        }
    )+};
}

counting!(silence_0 = 0, silence_1 = 1, silence_2 = 2, silence_3 = 3, silence_4 = 4);
