//! Users of brokers, and what they may do: brokers of Java from 5.3 on have them.

use serde::de::DeserializeOwned;
use wire::body::{AclInfo, UserInfo};
use wire::code::request;

use super::{Admin, json};
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::decode;

impl Admin {
    /// Creates a user at one broker.
    ///
    /// # Errors
    /// When it is there already, or the broker does not answer or refuses.
    pub async fn create_user(&self, address: &str, user: &UserInfo) -> Result<(), Error> {
        self.put_user(address, request::AUTH_CREATE_USER, user).await
    }

    /// Changes what is given of a user at one broker.
    ///
    /// # Errors
    /// When it is not there, or the broker does not answer or refuses.
    pub async fn update_user(&self, address: &str, user: &UserInfo) -> Result<(), Error> {
        self.put_user(address, request::AUTH_UPDATE_USER, user).await
    }

    async fn put_user(&self, address: &str, code: i32, user: &UserInfo) -> Result<(), Error> {
        let fields = Fields::new().maybe("username", user.username.as_deref());
        self.shared.ask(address, code, &fields, &json(user)?).await.map(drop)
    }

    /// Deletes a user at one broker.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn delete_user(&self, address: &str, name: &str) -> Result<(), Error> {
        self.ask(address, request::AUTH_DELETE_USER, Fields::new().text("username", name)).await
    }

    /// A user of one broker; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn user(&self, address: &str, name: &str) -> Result<Option<UserInfo>, Error> {
        self.told(address, request::AUTH_GET_USER, Fields::new().text("username", name)).await
    }

    /// Users of one broker; with a filter those whose names contain it.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn users(&self, address: &str, filter: Option<&str>) -> Result<Vec<UserInfo>, Error> {
        let users =
            self.told(address, request::AUTH_LIST_USER, Fields::new().maybe("filter", filter)).await?;
        Ok(users.unwrap_or_default())
    }

    /// Adds rules for a subject at one broker.
    ///
    /// # Errors
    /// When the subject is not there, or the broker does not answer or refuses.
    pub async fn create_acl(&self, address: &str, acl: &AclInfo) -> Result<(), Error> {
        self.put_acl(address, request::AUTH_CREATE_ACL, acl).await
    }

    /// Changes rules of a subject at one broker.
    ///
    /// # Errors
    /// When there are none, or the broker does not answer or refuses.
    pub async fn update_acl(&self, address: &str, acl: &AclInfo) -> Result<(), Error> {
        self.put_acl(address, request::AUTH_UPDATE_ACL, acl).await
    }

    async fn put_acl(&self, address: &str, code: i32, acl: &AclInfo) -> Result<(), Error> {
        let fields = Fields::new().text("subject", acl.subject.as_str());
        self.shared.ask(address, code, &fields, &json(acl)?).await.map(drop)
    }

    /// Deletes the rule of a subject about a resource at one broker, or all rules of the subject.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn delete_acl(
        &self,
        address: &str,
        subject: &str,
        resource: Option<&str>,
    ) -> Result<(), Error> {
        let fields = Fields::new().text("subject", subject).maybe("resource", resource);
        self.ask(address, request::AUTH_DELETE_ACL, fields).await
    }

    /// Rules of a subject at one broker; `None` when there are none.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn acl(&self, address: &str, subject: &str) -> Result<Option<AclInfo>, Error> {
        self.told(address, request::AUTH_GET_ACL, Fields::new().text("subject", subject)).await
    }

    /// Rules of one broker; with filters those of subjects and about resources whose names contain them.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn acls(
        &self,
        address: &str,
        subject_filter: Option<&str>,
        resource_filter: Option<&str>,
    ) -> Result<Vec<AclInfo>, Error> {
        let fields =
            Fields::new().maybe("subjectFilter", subject_filter).maybe("resourceFilter", resource_filter);
        Ok(self.told(address, request::AUTH_LIST_ACL, fields).await?.unwrap_or_default())
    }

    /// The body of an answer; brokers leave it empty when there is nothing to tell.
    async fn told<T: DeserializeOwned>(
        &self,
        address: &str,
        code: i32,
        fields: Fields<'_>,
    ) -> Result<Option<T>, Error> {
        let answer = self.shared.ask(address, code, &fields, &[]).await?;
        if answer.body.is_empty() { Ok(None) } else { decode(address, &answer).map(Some) }
    }
}
