/** Settings that Chatwoot reads from the environment once, and from `installation_configs` ever after. */

const FAMILIES = [
  "AZURE_APP",
  "FB",
  "FIREBASE",
  "GOOGLE_OAUTH",
  "HCAPTCHA",
  "IG",
  "INSTAGRAM",
  "LINEAR",
  "NOTION",
  "SHOPIFY",
  "SLACK",
  "TIKTOK",
  "WHATSAPP",
];

const SINGLE = new Set([
  "BLOCKED_EMAIL_DOMAINS",
  "DISABLE_GRAVATAR",
  "EMAIL_PROCESSING_TIMEOUT_SECONDS",
  "ENABLE_ACCOUNT_SIGNUP",
  "INSTALLATION_NAME",
  "MAXIMUM_FILE_UPLOAD_SIZE",
]);

/** True for a variable whose row in the database, once there is one, counts before the environment. */
export function isKeptInDatabase(name: string): boolean {
  return SINGLE.has(name) || FAMILIES.some((family) => name.startsWith(`${family}_`));
}
