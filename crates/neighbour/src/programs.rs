//! What is known of programs and services by their names: who is at home in two places without carrying words between
//! them. Each list is of exceptions: who isn't in one is looked at.

/// Programs that are connected to many places and carry nothing from there to here, by the file that runs. Of others
/// the kernel can't tell a tunnel (`ssh -R`) from a download.
pub(crate) const BROWSERS: [&str; 21] = [
    "brave",
    "chrome",
    "chrome-headless-shell",
    "chrome_crashpad_handler",
    "chromium",
    "chromium-browser",
    "chromium-shell",
    "epiphany",
    "falkon",
    "firefox",
    "firefox-bin",
    "firefox-esr",
    "headless_shell",
    "konqueror",
    "librewolf",
    "msedge",
    "opera",
    "QtWebEngineProcess",
    "vivaldi-bin",
    "WebKitNetworkProcess",
    "zen",
];

/// Programs whose connections are other people's, whatever else they hold.
pub(crate) const TUNNELS: [&str; 7] =
    ["autossh", "dbclient", "dropbear", "dropbearmulti", "ssh", "sshd", "sshd-session"];

/// Programs by which people come to this machine, when they are root's.
pub(crate) const DOORS: [&str; 5] = ["dropbear", "dropbearmulti", "mosh-server", "sshd", "sshd-session"];

/// Programs that show people what is said at the terminals that they made, and don't say it at another one. Through
/// whatever else they have open words come and go (`tmux pipe-pane`).
pub(crate) const TERMINALS: [&str; 32] = [
    "abduco",
    "alacritty",
    "contour",
    "cool-retro-term",
    "deepin-terminal",
    "dtach",
    "foot",
    "ghostty",
    "gnome-terminal-server",
    "kgx",
    "kitty",
    "konsole",
    "lxterminal",
    "mate-terminal",
    "ptyxis",
    "ptyxis-agent",
    "qterminal",
    "rio",
    "rxvt-unicode",
    "screen",
    "script",
    "st",
    "terminology",
    "tilix",
    "tmux",
    "urxvt",
    "urxvtd",
    "wezterm-gui",
    "wezterm-mux-server",
    "xfce4-terminal",
    "xterm",
    "yakuake",
];

/// Where services of the system and of people's desktops answer programs, of whom they carry nothing on.
const SERVICES: [&str; 12] = [
    "/dev/log",
    "/run/dbus/system_bus_socket",
    "/run/nscd/",
    "/run/pcscd/",
    "/run/systemd/",
    "/tmp/.ICE-unix/",
    "/tmp/.X11-unix/",
    "/tmp/dbus-",
    "/var/lib/sss/",
    "/var/run/dbus/system_bus_socket",
    "/var/run/nscd/",
    "/var/run/pcscd/",
];

/// Where those of a person's desktop do so, below `/run/user/UID/`.
const DESKTOP: [&str; 13] = [
    "ICEauthority",
    "at-spi/",
    "bus",
    "dbus-",
    "gcr/",
    "gnupg/",
    "gvfsd/",
    "keyring/",
    "p11-kit/",
    "pipewire-",
    "pulse/",
    "systemd/",
    "wayland-",
];

/// Whether a name of a Unix socket or of a pipe is one of a service of the system, or of the desktop.
pub(crate) fn is_service(name: &str) -> bool {
    let name = name.strip_prefix('@').unwrap_or(name);
    let of_desktop = || {
        let (uid, rest) = name.strip_prefix("/run/user/")?.split_once('/')?;
        let is_one = DESKTOP.iter().any(|service| rest.starts_with(service));
        uid.parse::<u32>().is_ok().then_some(is_one)
    };
    let begins = SERVICES.iter().any(|service| name.starts_with(service));
    !name.contains("/..") && (begins || of_desktop() == Some(true) || name.contains("/.cache/ibus/dbus-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a03_services_are_known_by_their_names() {
        for name in ["/run/systemd/journal/stdout", "/run/user/1000/bus", "@/tmp/.X11-unix/X0"] {
            assert!(is_service(name), "{name}");
        }
        for name in [
            "/run/systemd/../../tmp/x",
            "/run/user/1000/muster/8080.sock",
            "/run/docker.sock",
            "/tmp/tmux-0/default",
        ] {
            assert!(!is_service(name), "{name}");
        }
    }
}
