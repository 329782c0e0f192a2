//! What a scripted agent asks of people, and its waiting for the answer. A later attempt plays the same
//! script from its beginning and asks the same: it gets the answer that is there.

use jobshop_engine::{
    outcome::ErrorClass,
    policy::{Action, QUESTION},
    question::{Kind, NewQuestion, Reply, Text},
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{Player, script::Ask};
use crate::execute::{
    halt::{Done, Halt},
    link::Word,
    log::Stream,
};

impl Player<'_> {
    pub(super) async fn ask(&mut self, it: &Ask) -> Done<()> {
        let question = self.question(it)?;
        let message = question.message();
        self.say(&format!("asks: {message}"));
        self.asked += 1;
        let request = format!("{}/{}", self.link.request("script"), self.asked);
        let reply = match self.link.ask(request.clone(), question).await {
            Some(reply) => reply,
            None => self.answer(&request).await?,
        };
        let said = reply.in_words();
        self.say(&format!("is answered: {said}"));
        let allowed = !matches!(reply, Reply::Deny { .. });
        match &it.name {
            Some(name) => {
                let answer = json!({ "allowed": allowed, "text": said });
                self.found.insert(name.clone(), answer);
                Ok(())
            }
            None if allowed => Ok(()),
            None => Err(Halt::failed(ErrorClass::Rejected, format!("{message}: {said}"))),
        }
    }

    fn question(&self, it: &Ask) -> Done<NewQuestion> {
        match (&it.tool, &it.question) {
            (Some(tool), None) => {
                let what: Done<Vec<String>> = it.what.iter().map(|it| self.render(it)).collect();
                Ok(NewQuestion {
                    kind: Kind::Permission,
                    tool: self.render(tool)?,
                    what: what?,
                    texts: Vec::new(),
                    own: Action::Ask,
                })
            }
            (None, Some(text)) => {
                let options: Done<Vec<String>> =
                    it.options.iter().map(|it| self.render(it)).collect();
                Ok(NewQuestion {
                    kind: Kind::Question,
                    tool: QUESTION.to_owned(),
                    what: Vec::new(),
                    texts: vec![Text { text: self.render(text)?, options: options? }],
                    own: Action::Ask,
                })
            }
            _ => Err(Halt::error("give either `tool` or `question`")),
        }
    }

    /// Waits for people, for as long as a place is held.
    async fn answer(&mut self, request: &str) -> Done<Reply> {
        let limits = self.setting.limits;
        let parks_at = Instant::now() + self.link.hold;
        loop {
            tokio::select! {
                biased;
                () = limits.stop.cancelled() => return Err(Halt::Released),
                () = limits.gently.cancelled() => return Err(Halt::Released),
                word = self.link.word() => match word {
                    Word::Answer(told) if told.request == request => return Ok(told.reply),
                    Word::Answer(_) | Word::Message(_) => {}
                },
                () = sleep_until(parks_at) => return Err(Halt::Parked),
                () = limits.passed() => return Err(Halt::Parked),
            }
        }
    }

    fn say(&self, text: &str) {
        self.setting.log.bytes(Stream::Stdout, format!("{text}\n").as_bytes());
    }
}
