import * as client from 'openid-client'

/** Requests access tokens for a client whose secret is rotated. */
export class Login {
  #settings
  #secrets
  #lastAccepted

  /**
   * @param {{domain: string, endpoint?: string, clientId: string, audience: string}} settings
   * @param {import('./secrets.js').Secrets} secrets
   */
  constructor(settings, secrets) {
    this.#settings = settings
    this.#secrets = secrets
  }

  /**
   * Logs in. Tries the secret that Auth0 accepted last, then the list in order. If Auth0 rejects all
   * of them, reads the list again and tries the new one once.
   *
   * @returns the token, and in `tries` the number of secrets that were tried
   * @throws {Error} with the same property `tries`
   */
  async token() {
    let tries = 0
    for (let round = 0; round < 2; round++) {
      for (const secret of this.#candidates()) {
        tries++
        try {
          const token = await this.#requestToken(secret)
          this.#lastAccepted = secret
          return { token, tries }
        } catch (error) {
          if (!isSecretRejected(error)) throw Object.assign(error, { tries })
        }
      }
      this.#lastAccepted = undefined
      this.#secrets.refreshOrLog()
    }
    throw Object.assign(new Error('Auth0 rejected every secret in the list'), { tries })
  }

  /** Returns the secrets in the order in which to try them. */
  #candidates() {
    const { list } = this.#secrets
    if (!this.#lastAccepted) return list
    return [this.#lastAccepted, ...list.filter((secret) => secret !== this.#lastAccepted)]
  }

  #requestToken(secret) {
    const { domain, endpoint = `https://${domain}`, clientId, audience } = this.#settings
    const server = { issuer: `https://${domain}/`, token_endpoint: `${endpoint}/oauth/token` }
    const method = client.ClientSecretPost(secret)
    const configuration = new client.Configuration(server, clientId, undefined, method)
    configuration.timeout = 10
    // Only tests use HTTP. Auth0 itself requires HTTPS.
    if (endpoint.startsWith('http:')) client.allowInsecureRequests(configuration)
    return client.clientCredentialsGrant(configuration, { audience })
  }
}

/**
 * Returns whether Auth0 rejected the secret itself: status 401, with invalid_client or access_denied.
 * After any other error, another secret would not help.
 */
function isSecretRejected(error) {
  return error.status === 401
}
