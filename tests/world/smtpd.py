"""A mail server (aiosmtpd) that fills a maildir: smtpd.py PORT MAILDIR [--starttls|--tls CHAIN KEY] [--user NAME PASSWORD]."""

import argparse
import asyncio
import ssl

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("maildir")
    parser.add_argument("--starttls", nargs=2)
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--user", nargs=2)
    given = parser.parse_args()

    def context(files):
        if not files:
            return None
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(*files)
        return made

    def check(_server, _session, _envelope, _mechanism, data):
        is_known = [data.login.decode(), data.password.decode()] == given.user
        return AuthResult(success=is_known, handled=False)

    def session():
        # Without TLS a password is asked for, too: what would be sent is what a story is about.
        return SMTP(
            Mailbox(given.maildir),
            tls_context=context(given.starttls),
            require_starttls=bool(given.starttls),
            auth_required=bool(given.user),
            auth_require_tls=bool(given.starttls),
            authenticator=check if given.user else None,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", given.port, ssl=context(given.tls))
    await server.serve_forever()


asyncio.run(main())
