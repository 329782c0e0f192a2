//! `builtin/merge-train`: stacks the commits of several tasks, tries the given commands on the stack,
//! finds by halving which commit makes them fail, leaves that one out, and lands what is left by
//! compare-and-swap. What conflicts or breaks is told in the outputs; the task completes. What was
//! tried once is not tried again, however often the branch moves meanwhile.

use std::collections::HashMap;

use jobshop_engine::attempt::{Attempt, CapturedCommit, MergeWork, Workspace};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Inner,
    command::Limits,
    directory::{Directory, Room, remove_tree},
    halt::{Done, Halt},
    log::LogWriter,
    merge::{Merge, TRIES, branch_name, check_name},
    output,
    repository::Repository,
};

/// A commit that makes the commands fail.
#[derive(Debug, Serialize)]
struct Broken {
    task: String,
    commit: String,
    files: Vec<String>,
    message: String,
}

/// Everything that does not change while a train is put together.
struct Yard<'a> {
    inner: &'a Inner,
    work: &'a MergeWork,
    attempt: &'a Attempt,
    directory: &'a Directory,
    repository: &'a Repository,
    limits: &'a Limits,
    log: &'a LogWriter,
    /// What the commands came to, by tree.
    known: HashMap<String, Option<String>>,
}

impl Inner {
    pub(super) async fn merge_train(
        &self,
        work: &MergeWork,
        attempt: &Attempt,
        directory: &Directory,
        (limits, log): (&Limits, &LogWriter),
    ) -> Done<Value> {
        let Workspace::Clone { repo, base, .. } = &attempt.workspace else {
            return Err(Halt::error("`builtin/merge-train` needs a `workspace` with a `repo`"));
        };
        let repository = self.repositories.locate(repo, attempt.file_dir.as_deref())?;
        let branch = branch_name(work, &attempt.fence);
        limits.hold(check_name(&branch)).await?;
        let known = HashMap::new();
        let repository = &repository;
        let mut yard =
            Yard { inner: self, work, attempt, directory, repository, limits, log, known };
        let mut last = String::new();
        for _ in 0..TRIES {
            let begun = Merge::begin(repository, &branch, base.as_deref(), &attempt.fence);
            let mut merge = limits.hold(begun).await?;
            let broken = yard.couple(&mut merge).await?;
            match limits.hold(merge.publish()).await? {
                None => return yard.outputs(merge, &broken),
                Some(lost) => {
                    log.note(&format!("`{branch}` was moved meanwhile, stacking again: {lost}"));
                    last = lost;
                }
            }
        }
        Err(Halt::error(format!("cannot move `{branch}`, tried {TRIES} times: {last}")))
    }
}

impl Yard<'_> {
    /// Stacks what the commands let through, and says what they do not.
    async fn couple(&mut self, merge: &mut Merge<'_>) -> Done<Vec<Broken>> {
        let start = merge.tip.clone();
        let mut cars: Vec<&CapturedCommit> = self.work.commits.iter().collect();
        let mut broken = Vec::new();
        loop {
            self.stack(merge, &start, &cars).await?;
            if merge.tip == start || self.fault(&merge.tip).await?.is_none() {
                return Ok(broken);
            }
            if let Some(why) = self.fault(&start).await? {
                let branch = &merge.branch;
                let why = format!("the check fails on `{branch}` before anything is added: {why}");
                return Err(Halt::error(why));
            }
            let riders: Vec<&CapturedCommit> = cars
                .iter()
                .filter(|car| merge.merged.iter().any(|it| it.commit == car.commit))
                .copied()
                .collect();
            let breaker = self.breaker(merge, &start, &riders).await?;
            let car = riders[breaker];
            let message = self.fault(&merge.tip).await?.unwrap_or_default();
            let files = merge.merged.pop().map(|entry| entry.files).unwrap_or_default();
            self.log.note(&format!("`{}` breaks the check: {message}", car.task));
            let (task, commit) = (car.task.clone(), car.commit.clone());
            cars.retain(|it| it.commit != commit);
            broken.push(Broken { task, commit, files, message });
        }
    }

    /// The place of the commit with which the commands begin to fail; the stack ends with it then.
    async fn breaker(
        &mut self,
        merge: &mut Merge<'_>,
        start: &str,
        riders: &[&CapturedCommit],
    ) -> Done<usize> {
        let (mut good, mut bad) = (0, riders.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            self.stack(merge, start, &riders[..middle]).await?;
            if self.fault(&merge.tip).await?.is_none() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        self.stack(merge, start, &riders[..bad]).await?;
        Ok(bad - 1)
    }

    async fn stack(
        &self,
        merge: &mut Merge<'_>,
        start: &str,
        cars: &[&CapturedCommit],
    ) -> Done<()> {
        start.clone_into(&mut merge.tip);
        merge.merged.clear();
        merge.conflicts.clear();
        for car in cars {
            self.limits.hold(merge.add(car, self.log)).await?;
        }
        Ok(())
    }

    /// Why the commands fail on a commit, if they do.
    async fn fault(&mut self, commit: &str) -> Done<Option<String>> {
        let tree = self.repository.git("rev-parse").arg(format!("{commit}^{{tree}}")).line();
        let tree = tree.await?;
        if let Some(known) = self.known.get(&tree) {
            return Ok(known.clone());
        }
        let place = self.directory.path().join(format!("train-{}", self.known.len() + 1));
        self.limits.hold(self.repository.clone_to(&place, commit)).await?;
        let room = Room { workspace: place.clone(), ..self.directory.verify_room() };
        let tried = self.inner.try_out(
            &self.work.check,
            self.attempt,
            self.directory,
            &room,
            (self.limits, self.log),
        );
        let fault = tried.await?.complaint.map(|complaint| complaint.message);
        let removed = tokio::task::spawn_blocking(move || remove_tree(&place)).await;
        if let Err(error) = removed.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "cannot remove a checkout of a merge train");
        }
        self.known.insert(tree, fault.clone());
        Ok(fault)
    }

    fn outputs(&self, merge: Merge<'_>, broken: &[Broken]) -> Done<Value> {
        let mut outputs = merge.outputs();
        outputs["broken"] = json!(broken);
        outputs["checks"] = json!(self.known.len());
        let Value::Object(outputs) = outputs else { return Ok(outputs) };
        output::check_schema(&outputs, self.attempt.schema.as_ref())?;
        output::check_size(&outputs, self.inner.config.output_bytes_max)?;
        Ok(Value::Object(outputs))
    }
}
