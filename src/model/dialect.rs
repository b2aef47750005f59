//! How a backend reads a path, as a word.

/// The kind of server that a backend is, as far as it reads paths and parameters its own way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// No kind in particular: what any server might read in another way is refused.
    #[default]
    Strict,
    /// Internet Information Services, with ASP.NET or without.
    Iis,
    /// Tomcat, Jetty and other servlet containers.
    Tomcat,
    /// PHP behind CGI, FastCGI or a module.
    Php,
}

impl Dialect {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Iis, Self::Tomcat, Self::Php];

    /// The word in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Iis => "iis",
            Self::Tomcat => "tomcat",
            Self::Php => "php",
        }
    }

    /// Whether applications commonly read a parameter from where a form field of the same name can take the place of the
    /// query's or join it: `$_REQUEST` of PHP, `Request["name"]` and the value providers of ASP.NET, `getParameterValues`
    /// of servlets.
    pub const fn form_overrides_query(self) -> bool {
        matches!(self, Self::Iis | Self::Tomcat | Self::Php)
    }

    /// Whether a cookie of the same name can, too: `$_REQUEST` of PHP has cookies last unless `request_order` leaves them
    /// out, as the sample php.ini does and PHP without a php.ini does not; `Request["name"]` of ASP.NET looks for a cookie
    /// where query and form have none.
    pub const fn cookie_overrides_query(self) -> bool {
        matches!(self, Self::Iis | Self::Php)
    }
}
