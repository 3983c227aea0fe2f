//! A network namespace without a network, where the system gives one, and what the kernel counted in it.
//!
//! ```text
//! outside   unshare --user --map-root-user --net homespun demo --unplug ... --unshared NET
//! inside    NET is not this process's: a new namespace, whose counters began at 0
//! ```

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The tables of sockets that can reach another machine, or be reached.
const TABLES: [&str; 6] = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];

/// Where the process is.
pub(super) enum Network {
    /// In a namespace that was made for it.
    Own,
    /// In the system's, and why.
    Shared(String),
}

/// What the kernel counted.
pub(super) struct Counted {
    /// Sockets, of the whole namespace where it is our own, of this process else.
    pub sockets: usize,
    /// TCP connections that were opened or accepted in our own namespace since it was made.
    pub opened: u64,
    /// Packets that were sent, or were to be sent and found no route, in our own namespace.
    pub packets: u64,
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// Addresses of theirs.
    pub addresses: usize,
}

impl Network {
    /// Leaves the network, if the system lets it: then this process goes on as another one, from its
    /// beginning. `outside` is the namespace that it came from, if it did so.
    pub fn leave(outside: Option<&str>) -> Self {
        let own = match namespace() {
            Ok(own) => own,
            Err(reason) => return Self::Shared(reason),
        };
        match outside {
            Some(outside) if outside != own => return Self::Own,
            Some(_) => return Self::Shared("unshare made none".to_owned()),
            None => {}
        }
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--net", "--"]);
            unshare
        };
        let tried = unshare().arg("true").stdin(Stdio::null()).output();
        let reason = match tried {
            Ok(output) if output.status.success() => match env::current_exe() {
                Ok(program) => {
                    let words = env::args_os().skip(1);
                    // It returns only if it fails.
                    let again =
                        unshare().arg(program).args(words).args(["--unshared", &own]).exec();
                    format!("unshare: {again}")
                }
                Err(error) => format!("this program: {error}"),
            },
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("unshare: {error}"),
        };
        Self::Shared(reason)
    }

    /// What the kernel counted so far; `None` where it tells nothing.
    pub fn counted(&self) -> Option<Counted> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}"));
        // Without version 6 of the protocol its tables are missing, and no socket is in them.
        read("tcp").ok()?;
        let text = |name: &str| read(name).unwrap_or_default();
        let inodes = TABLES.iter().flat_map(|table| inodes(&text(table)));
        let inodes: Vec<String> = inodes.collect();
        let (snmp, snmp6) = (text("snmp"), text("snmp6"));
        let sum = |of: &str, names: &[&str]| -> u64 {
            names.iter().map(|name| counter(&snmp, of, name).unwrap_or(0)).sum()
        };
        let (sockets, opened, packets) = match self {
            Self::Own => {
                let sent = sum("Ip:", &["OutRequests", "OutNoRoutes"]);
                let six = ["Ip6OutRequests", "Ip6OutNoRoutes"].map(|name| counter6(&snmp6, name));
                let packets = sent + six.into_iter().sum::<u64>();
                (inodes.len(), sum("Tcp:", &["ActiveOpens", "PassiveOpens"]), packets)
            }
            // Others' are of no interest, and what they did cannot be told from what we did.
            Self::Shared(_) => (ours(&inodes)?, 0, 0),
        };
        let interfaces = interfaces(&text("dev"));
        let addresses = addresses(&text("fib_trie")) + text("if_inet6").lines().count();
        Some(Counted { sockets, opened, packets, interfaces, addresses })
    }
}

impl Counted {
    /// Sockets that are open and connections that were.
    pub fn connections(&self) -> u64 {
        self.sockets as u64 + self.opened
    }
}

/// What the kernel calls this process's network namespace.
fn namespace() -> Result<String, String> {
    let file = "/proc/self/ns/net";
    let name = fs::read_link(file).map_err(|error| format!("{file}: {error}"))?;
    Ok(name.display().to_string())
}

/// The inodes of a table's sockets.
fn inodes(table: &str) -> Vec<String> {
    let rows = table.lines().skip(1);
    rows.filter_map(|row| row.split_whitespace().nth(9)).map(str::to_owned).collect()
}

/// How many of the sockets this process has open.
fn ours(inodes: &[String]) -> Option<usize> {
    let open = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let names = open.filter_map(|file| fs::read_link(file.path()).ok());
    let names = names.map(|name| name.display().to_string());
    let sockets =
        names.filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    Some(sockets.filter(|inode| inodes.contains(inode)).count())
}

/// A counter of a line pair `Tcp: ActiveOpens ...`, `Tcp: 3 ...`.
fn counter(snmp: &str, of: &str, name: &str) -> Option<u64> {
    let mut rows = snmp.lines().filter(|row| row.starts_with(of));
    let (names, values) = (rows.next()?, rows.next()?);
    let at = names.split_whitespace().position(|one| one == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

/// A counter of a line `Ip6OutRequests  3`.
fn counter6(snmp6: &str, name: &str) -> u64 {
    let value = snmp6.lines().find_map(|row| {
        let (this, value) = row.split_once(char::is_whitespace)?;
        (this == name).then(|| value.trim().parse().ok())?
    });
    value.unwrap_or(0)
}

fn interfaces(dev: &str) -> Vec<String> {
    let rows = dev.lines().filter_map(|row| row.split_once(':'));
    rows.map(|(name, _)| name.trim().to_owned()).collect()
}

/// Local addresses of version 4; each is in two tables of routes, or in one.
fn addresses(fib_trie: &str) -> usize {
    fib_trie.lines().filter(|row| row.trim() == "/32 host LOCAL").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71234 1 0\n";
        assert_eq!(inodes(table), ["71234"]);
        let snmp = "Ip: Forwarding OutRequests\nIp: 1 7\nTcp: RtoMin ActiveOpens\nTcp: 200 3\n";
        assert_eq!(counter(snmp, "Tcp:", "ActiveOpens"), Some(3));
        assert_eq!(counter(snmp, "Ip:", "OutRequests"), Some(7));
        assert_eq!(counter(snmp, "Udp:", "OutDatagrams"), None);
        assert_eq!(counter6("Ip6InReceives \t 9\nIp6OutRequests  \t4\n", "Ip6OutRequests"), 4);
        let dev =
            "Inter-|   Receive  |  Transmit\n face |bytes    packets\n    lo:       0       0\n";
        assert_eq!(interfaces(dev), ["lo"]);
        assert_eq!(addresses("Local:\n  |-- 127.0.0.1\n   /32 host LOCAL\n"), 1);
    }

    #[test]
    fn a_socket_of_this_process_is_counted() {
        let shared = Network::Shared(String::new());
        let Some(before) = shared.counted() else {
            return println!("skipped: this system has no /proc/self/net");
        };
        let Ok(_socket) = std::net::UdpSocket::bind("127.0.0.1:0") else {
            return println!("skipped: this system has no network");
        };
        let after = shared.counted().expect("as before");
        // Tests beside this one may open and close theirs.
        assert!(after.sockets > 0, "{} before", before.sockets);
    }
}
