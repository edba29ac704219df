/** Secrets as people may see them. */
export const MASK = '********';

/** An address without the password in it. */
export const maskPassword = (url: string): string =>
  url
    // Up to the last @: a password with an @ that should have been encoded is one all the same.
    .replace(/^(rediss?:\/\/)(.*)@/, (_all, scheme: string, user: string) =>
      user.includes(':') ? `${scheme}${user.slice(0, user.indexOf(':'))}:${MASK}@` : `${scheme}${MASK}@`,
    )
    .replaceAll(/([?&][^=&]*password=)[^&]*/gi, `$1${MASK}`);

/** A text without the accounts of the web addresses in it. */
export const maskAccounts = (text: string): string =>
  text.replaceAll(/\b((?:sparse\+)?https?:\/\/)[^\s/,|?#]*@/gi, `$1${MASK}@`);
