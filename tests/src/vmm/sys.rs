//! The few things with the operating system that the standard library does not have.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

/// The clock the kernel stamps its events with: CLOCK_MONOTONIC, in nanoseconds.
pub fn now_ns() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel fills in the structure it is given; this clock always exists.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Waits until a file exists.
pub fn wait_for_file(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: the call has no preconditions.
    unsafe { libc::gettid() }
}

/// The CPUs the calling thread may use, in order.
///
/// # Errors
/// If the system has more CPUs than fit into a `cpu_set_t`.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    // SAFETY: all-zero is a valid value of this bit set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel writes at most the size given, to a set of that size.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    ensure!(result == 0, "sched_getaffinity: {}", io::Error::last_os_error());
    // SAFETY: the numbers are below the size of the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Moves the calling thread to this CPU.
///
/// # Errors
/// If there is no such CPU or it may not be used.
pub fn move_to_cpu(cpu: usize) -> Result<()> {
    ensure!(cpu < libc::CPU_SETSIZE as usize, "there is no CPU {cpu}");
    // SAFETY: all-zero is a valid value of this bit set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the number is below the size of the set, as just checked.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel only reads the set, whose size is given.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    ensure!(result == 0, "cannot use CPU {cpu}: {}", io::Error::last_os_error());
    Ok(())
}

/// Makes SIGUSR1 interrupt system calls, and do nothing else.
///
/// # Errors
/// If the kernel refuses.
pub fn let_sigusr1_interrupt() -> Result<()> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    // SAFETY: all-zero is a valid value: no flags (so no restart of system calls), an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the structure is initialised, and the handler does nothing that a handler must not do.
    let result = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    ensure!(result == 0, "sigaction: {}", io::Error::last_os_error());
    Ok(())
}

/// Sends SIGUSR1 to a thread of this process.
///
/// # Errors
/// If there is no such thread.
pub fn interrupt(tid: i32) -> Result<()> {
    // SAFETY: the call takes three numbers and touches no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            libc::c_long::from(libc::getpid()),
            libc::c_long::from(tid),
            libc::c_long::from(libc::SIGUSR1),
        )
    };
    ensure!(result == 0, "tgkill: {}", io::Error::last_os_error());
    Ok(())
}

/// Names the calling thread, and by its first thread the process. The kernel keeps 15 bytes.
///
/// # Errors
/// If the name contains a zero byte, or the kernel refuses.
pub fn set_name(name: &str) -> Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the kernel reads the string, which ends in a zero byte.
    let result = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    ensure!(result == 0, "prctl: {}", io::Error::last_os_error());
    Ok(())
}

/// Makes the kernel kill this process when the thread that started it ends.
///
/// # Errors
/// If the kernel refuses.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: this operation takes one number and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    ensure!(result == 0, "prctl: {}", io::Error::last_os_error());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_move() {
        let cpus = allowed_cpus().unwrap();
        assert!(!cpus.is_empty());
        thread::spawn(move || {
            let last = *cpus.last().unwrap();
            move_to_cpu(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert!(move_to_cpu(usize::MAX).is_err());
    }
}
