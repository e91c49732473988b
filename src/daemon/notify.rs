//! The service manager's side of a start and a life: systemd's notification protocol, where a manager listens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Whoever started this process as a service; nobody, mostly.
#[derive(Debug)]
pub struct Manager {
    /// How long it waits for a sign of life.
    patience: Option<Duration>,
}

impl Manager {
    /// From the environment that the manager gave this process.
    pub fn of_this_process() -> Self {
        Self { patience: sd_notify::watchdog_enabled() }
    }

    /// How often it wants a sign of life: twice in the time that it waits for one.
    pub fn period(&self) -> Option<Duration> {
        self.patience.map(|patience| patience / 2)
    }

    /// Requests are answered.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The keeper watches its worker.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The mount is being taken down.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            log::warn!("the service manager does not hear: {error}");
        }
    }
}
